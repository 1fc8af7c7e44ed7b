"""Tells webhooks who enters, changes in and leaves a list: compares, writes deliveries, and posts them until delivered.

A receiver is told of each person at least once, in the order in which things happened to that person. What was told is
remembered as a digest; what is to be told lies in the deliveries, until they are delivered, given up or replaced.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby, islice
from typing import Any

from django.db import router
from django.db.models import F, Max, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recommender.identity import tombstones
from recommender.models import Delivery, Webhook, WebhookMember
from recommender.models.connections import writing
from recommender.models.webhooks import ERASED
from recommender.outreach import people
from recommender.outreach.lists import LISTS, cells_by_name
from recommender.outreach.members import COLUMNS, cells_of, members
from recommender.outreach.posting import Answer, post
from recommender.personas import TitledItems

logger = logging.getLogger(__name__)

CHANGES_A_DELIVERY = 500
PAUSES = tuple(dt.timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 360))
"""After each failed attempt; with the last of them a delivery has been tried for eight and a half hours, so that it is
over before the next night compares again."""

LEASE = dt.timedelta(minutes=2)
"""For how long an attempt counts as being made: longer than it may take."""

ENTERED, CHANGED, LEFT = "entered", "changed", "left"

FAULTS: Mapping[str, Any] = {
    "address": _("This is no address that begins with https://. Correct it."),
    "inside": _("The host is inside your network. Give a public one, or name it in WEBHOOK_PRIVATE_HOSTS."),
    "host": _("The host cannot be found. Correct the address."),
    "connection": _("Nothing listens there, or the connection broke. Look whether the receiver runs."),
    "tls": _("Its certificate is not valid for the host. Renew it."),
    "timeout": _("No answer within ten seconds. Let the receiver answer first, and work afterwards."),
    "redirect": _("It redirects, which is not followed. Enter the address that it leads to."),
    "refused": _("It refuses the sender. Enter the secret there that this webhook has."),
    "gone": _("There is nothing at this address. Correct it."),
    "size": _("The message is too large for it. Let it take bodies of a megabyte."),
    "busy": _("It takes no more for now. It is tried again."),
    "request": _("It does not understand the message. Compare it with the example in the documentation."),
    "server": _("It failed while it answered. Look at its log."),
}
"""What to do about each fault of a delivery."""

Change = dict[str, Any]


def request(webhook: Webhook) -> None:
    """Let the next job compare a webhook, within a minute. One query."""
    Webhook.objects.filter(pk=webhook.pk).update(requested_at=timezone.now())


def compare_all(catalogue: TitledItems, *, at: dt.datetime) -> int:
    """Compare every webhook that is active or owes an erasure with what it was told; return the number of changes."""
    concerned = Q(is_active=True) | Q(members__erased_at__isnull=False)
    return sum(compare(webhook, catalogue, at=at) for webhook in Webhook.objects.filter(concerned).distinct())


def compare_requested(catalogue: Callable[[], TitledItems], *, at: dt.datetime) -> int:
    """Compare the webhooks that staff asked for, and write the erasures that others are owed; return the number of
    changes. The catalogue is loaded only where somebody asked."""
    requested = list(Webhook.objects.filter(requested_at__isnull=False))
    owed = Webhook.objects.filter(members__erased_at__isnull=False).exclude(pk__in=[row.pk for row in requested])
    n = sum(compare(webhook, catalogue(), at=at) for webhook in requested)
    return n + sum(_tell_erased(webhook, at=at) for webhook in owed.distinct())


def compare(webhook: Webhook, catalogue: TitledItems, *, at: dt.datetime) -> int:
    """Write deliveries of what differs from what the receiver was told, in the place of those that wait; return the
    number of changes. One that is not active is told of erasures alone."""
    changes = [*_erased(webhook), *(_differences(webhook, catalogue, at) if webhook.is_active else ())]
    with writing(using=router.db_for_write(Delivery)):
        waiting = webhook.deliveries.filter(state=Delivery.State.WAITING)
        waiting.update(state=Delivery.State.REPLACED, changes=[], ended_at=at)
        _write(webhook, changes, at=at)
        Webhook.objects.filter(pk=webhook.pk, requested_at=webhook.requested_at).update(
            requested_at=None, compared_at=at
        )
    return len(changes)


def deliver_due(*, at: dt.datetime) -> tuple[int, int]:
    """Post what is due; return the numbers of deliveries that succeeded and that failed.

    After a failure the other deliveries of the webhook wait for the next time, so that a receiver that hangs holds up
    the others for one timeout.
    """
    due = Delivery.objects.filter(state=Delivery.State.WAITING, next_attempt_at__lte=at).order_by("pk")
    outcomes: list[bool | None] = []
    failing: set[int] = set()
    for pk, webhook in list(due.values_list("pk", "webhook")):
        if webhook not in failing:
            outcomes.append(deliver(pk, at=at))
            if outcomes[-1] is False:
                failing.add(webhook)
    return outcomes.count(True), outcomes.count(False)


def deliver(pk: int, *, at: dt.datetime) -> bool | None:
    """Try one delivery; None where another process is at it. It is posted outside of any transaction."""
    due = Delivery.objects.filter(pk=pk, state=Delivery.State.WAITING, next_attempt_at__lte=at)
    if not due.update(n_attempts=F("n_attempts") + 1, next_attempt_at=at + LEASE):
        return None
    delivery = Delivery.objects.select_related("webhook__segment").get(pk=pk)
    changes = _still_allowed(delivery.changes)
    if not changes:
        _succeed(delivery, [], Answer(None))
        return True
    now = timezone.now()
    body = json.dumps(message_of(delivery, changes, at=now), ensure_ascii=False).encode()
    answer = post(
        delivery.webhook.url,
        body,
        secret=delivery.webhook.secret,
        delivery=str(delivery.key),
        timestamp=int(now.timestamp()),
    )
    if answer.fault:
        _fail(delivery, answer, at=at)
        return False
    _succeed(delivery, changes, answer)
    return True


def message_of(delivery: Delivery, changes: list[Change], *, at: dt.datetime) -> dict[str, Any]:
    """What is posted: what it is about, and one entry for each person."""
    webhook = delivery.webhook
    return {
        "delivery": str(delivery.key),
        "sent_at": at.isoformat(timespec="seconds"),
        "list": webhook.source,
        "segment": webhook.segment and {"number": webhook.segment.number, "name": str(webhook.segment)},
        "changes": changes,
    }


def _differences(webhook: Webhook, catalogue: TitledItems, at: dt.datetime) -> Iterator[Change]:
    digests = dict(webhook.members.filter(erased_at=None).values_list("user_key", "digest"))
    for user_key, rows in _people(webhook, catalogue, at):
        before = digests.pop(user_key, None)
        if before != _digest(rows):
            yield {"event": ENTERED if before is None else CHANGED, "user": user_key, "rows": rows}
    yield from ({"event": LEFT, "user": user_key} for user_key in digests)


def _people(webhook: Webhook, catalogue: TitledItems, at: dt.datetime) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Who is on the list now, with the columns of the CSV file, by the key of the user."""
    if webhook.source == Webhook.Source.SEGMENT:
        if webhook.segment is None or webhook.segment.retired_at is not None:
            return
        rows = (dict(zip(COLUMNS, cells_of(row), strict=True)) for row in members(webhook.segment, catalogue, at=at))
    else:
        ready = LISTS[webhook.source]
        rows = (cells_by_name(ready, row) for row in ready.rows(at=at))
    for user_key, group in groupby(rows, key=lambda row: str(row["user"])):
        yield user_key, [{name: _plain(cell) for name, cell in row.items() if name != "user"} for row in group]


def _plain(cell: Any) -> Any:
    """A cell as JSON has it: numbers, text and null; days and prices as text."""
    return cell if cell is None or isinstance(cell, int | float | str) else str(cell)


def _erased(webhook: Webhook, *, since: dt.datetime | None = None) -> list[Change]:
    erased = webhook.members.filter(erased_at__isnull=False)
    if since is not None:
        erased = erased.filter(erased_at__gt=since)
    return [{"event": ERASED, "user": user_key} for user_key in erased.values_list("user_key", flat=True)]


def _tell_erased(webhook: Webhook, *, at: dt.datetime) -> int:
    """Write a delivery of the erasures that no waiting delivery has. What was given up waits for the next night."""
    waiting = webhook.deliveries.filter(state=Delivery.State.WAITING).values_list("changes", flat=True)
    written = {change["user"] for changes in waiting for change in changes if change["event"] == ERASED}
    given_up = webhook.deliveries.filter(state=Delivery.State.FAILED).aggregate(last=Max("ended_at"))["last"]
    owed = [change for change in _erased(webhook, since=given_up) if change["user"] not in written]
    _write(webhook, owed, at=at)
    return len(owed)


def _write(webhook: Webhook, changes: Iterable[Change], *, at: dt.datetime) -> None:
    remaining = iter(changes)
    while batch := list(islice(remaining, CHANGES_A_DELIVERY)):
        Delivery.objects.create(webhook=webhook, changes=batch, n_changes=len(batch), created_at=at, next_attempt_at=at)


def _still_allowed(changes: list[Change]) -> list[Change]:
    """Without those who have withdrawn their consent since it was written."""
    users = [change["user"] for change in changes if change["event"] in (ENTERED, CHANGED)]
    reachable = set(people.reachable().filter(user_key__in=users).values_list("user_key", flat=True))
    return [change for change in changes if change["event"] in (LEFT, ERASED) or change["user"] in reachable]


def _fail(delivery: Delivery, answer: Answer, *, at: dt.datetime) -> None:
    values: dict[str, Any] = {"status": answer.status, "fault": answer.fault}
    if delivery.n_attempts > len(PAUSES):
        values |= {"state": Delivery.State.FAILED, "changes": [], "ended_at": at}
        logger.warning("a delivery to webhook %d was given up: %s", delivery.webhook_id, answer.fault)
    else:
        values["next_attempt_at"] = at + PAUSES[delivery.n_attempts - 1]
    Delivery.objects.filter(pk=delivery.pk, state=Delivery.State.WAITING).update(**values)


def _succeed(delivery: Delivery, changes: list[Change], answer: Answer) -> None:
    """Remember what the receiver knows now. Whoever was erased while it was posted is owed the message of that."""
    at = timezone.now()
    with writing(using=router.db_for_write(Delivery)):
        names = {change["user"]: tombstones.name_of_user(change["user"]) for change in changes}
        buried = tombstones.erased(list(names.values()))
        for change in changes:
            _remember(delivery.webhook, change, at=at, is_erased=names[change["user"]] in buried)
        Delivery.objects.filter(pk=delivery.pk).update(
            state=Delivery.State.DELIVERED, changes=[], status=answer.status, fault="", ended_at=at
        )


def _remember(webhook: Webhook, change: Change, *, at: dt.datetime, is_erased: bool) -> None:
    rows = WebhookMember.objects.filter(webhook=webhook, user_key=change["user"])
    if change["event"] == ERASED:
        rows.filter(erased_at__isnull=False).delete()
    elif change["event"] == LEFT:
        rows.filter(erased_at=None).delete()
    else:
        values = {"digest": _digest(change["rows"]), "told_at": at, "erased_at": at if is_erased else None}
        WebhookMember.objects.update_or_create(webhook=webhook, user_key=change["user"], defaults=values)


def _digest(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
