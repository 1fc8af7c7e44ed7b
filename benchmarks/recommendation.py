"""Ranks your items for your users, learning from your events, by the same pipeline that serves a shop.

`python -m benchmarks.recommendation --items I --events E --users U --out run.csv`

Items `item_id,title[,category,brand,description,price,first_seen,...]`; events `user_id,item_id` with `timestamp` or
`position`, and where known `event_type` (default purchase; `cancel` is a refund), `order_id`, `quantity`, `unit_price`;
users `user_id`. An empty user makes each order its own visitor. `--extra-events` are histories for serving alone.
Out: `user_id,rank,item_id`, ranks from 1.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import workbench
from benchmarks.events import EventRow, first_seen, moment_of, read_events
from benchmarks.workbench import Clock, InputError, read

RANKED_PER_MINUTE = 1_500
"""Users answered in a minute, low enough for a busy machine: this time is left for the lists."""


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    clock = Clock(options.minutes)
    users = list(dict.fromkeys(row["user_id"] for row in read(options.users, "user_id") if row["user_id"]))
    if not users:
        raise InputError(f"{options.users} names no user: one row per user is needed.")
    events, has_clock = read_events(options.events)
    at = moment_of(options.at, events)
    later = sum(event.at >= at for event in events)
    if later:
        print(f"{later} events at or after {options.at} are not read")
    events = [event for event in events if event.at < at]
    extra = [event for event in read_events(options.extra_events)[0] if event.at < at] if options.extra_events else []
    with workbench.shop():
        n_items = workbench.load_items(
            read(options.items, "item_id"), "item_id", first_seen=first_seen(options.items, events)
        )
        n_events = _load_events(events)
        print(f"{n_items} items, {n_events} events, {len(users)} users", flush=True)
        _prepare(options, clock, at=at, n_users=len(users), has_clock=has_clock)
        if options.save:
            workbench.keep(options.save)
        histories = _histories([*events, *extra], set(users))
        started = time.monotonic()
        n = workbench.write(options.out, ("user_id", "rank", "item_id"), _lists(options, users, histories, at))
        seconds = time.monotonic() - started
    print(f"{n} rows written to {options.out}; {seconds / len(users) * 1000:.1f} ms per user")
    print(f"{clock.spent:.1f} of {clock.minutes:g} minutes")


def _prepare(options: argparse.Namespace, clock: Clock, *, at: float, n_users: int, has_clock: bool) -> None:
    """Serve a saved bundle, or train one on everything before `at`."""
    if options.load:
        workbench.adopt(options.load, at=at)
        return
    from benchmarks.untested import train_untested

    minutes = clock.left - n_users / RANKED_PER_MINUTE - 1
    print(f"{minutes:.1f} minutes to train", flush=True)
    settings: dict[str, Any] = {
        "minutes": max(minutes, 0.5), "seed": options.seed, "encoder": "auto", "n_threads": options.threads,
    }  # fmt: skip
    if not has_clock:
        settings |= {"horizon_days": 1.0, "step_days": 1.0}
    bundle = train_untested(settings, at=at, watch=workbench.Printed())
    print(f"bundle {bundle}", flush=True)


def _lists(
    options: argparse.Namespace, users: Sequence[str], histories: Mapping[str, list[EventRow]], at: float
) -> Iterator[tuple[str, int, str]]:
    from recommender import pipeline, serving
    from recommender.types import HISTORY_LIMIT, Context, EventType, PastEvent, Request

    served, slot = serving.reload(), pipeline.slot_named(options.slot)
    now = dt.datetime.fromtimestamp(at, dt.UTC)
    for user in users:
        past = tuple(
            PastEvent(
                EventType(event.type),
                dt.datetime.fromtimestamp(event.at, dt.UTC),
                item_id=event.item,
                quantity=event.quantity,
                order_id=event.order,
            )
            for event in histories.get(user, [])[-HISTORY_LIMIT:]
        )
        hidden = frozenset(event.item for event in histories.get(user, [])) if options.new_only else frozenset()
        request = Request(
            slot, Context(now), history=past, limit=options.top, exclude_item_ids=hidden,
            exclude_history=options.new_only,
        )  # fmt: skip
        for entry in pipeline.rank(request, served=served).entries:
            yield user, entry.position, entry.item_id


def _load_events(events: Sequence[EventRow]) -> int:
    """Put the events of known items into the tables, each once."""
    from decimal import Decimal

    from recommender.models import Event, Item, Visitor

    item_ids = set(Item.objects.values_list("item_id", flat=True))
    names = dict.fromkeys(event.user or f"order {event.order}" for event in events)
    visitors = Visitor.objects.bulk_create([Visitor() for _ in names], batch_size=workbench.CHUNK_SIZE)
    keys = dict(zip(names, (visitor.pk for visitor in visitors), strict=True))
    rows = [
        Event(
            message_id=f"{number}",
            visitor_id=keys[event.user or f"order {event.order}"],
            type=event.type,
            item_id=event.item,
            occurred_at=dt.datetime.fromtimestamp(event.at, dt.UTC),
            quantity=event.quantity,
            price=None if not 0 <= event.price < 1e9 else Decimal(str(round(event.price, 2))),
            order_id=f"{event.user} {event.order}"[:128] if event.order else "",
            region=event.country[:32],
            source="order",
        )
        for number, event in enumerate(events)
        if event.item in item_ids
    ]
    if len(rows) < len(events):
        print(f"{len(events) - len(rows)} of {len(events)} events name an item that is not in the catalogue: left out")
    for start in range(0, len(rows), workbench.CHUNK_SIZE):
        Event.objects.bulk_create(rows[start : start + workbench.CHUNK_SIZE])
    return len(rows)


def _histories(events: Sequence[EventRow], users: set[str]) -> dict[str, list[EventRow]]:
    histories: dict[str, list[EventRow]] = {}
    for event in sorted(events, key=lambda event: event.at):
        if event.user in users:
            histories.setdefault(event.user, []).append(event)
    return histories


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--users", type=Path, required=True)
    parser.add_argument("--extra-events", type=Path, help="histories of further users, read at serving only")
    parser.add_argument("--slot", default="home")
    parser.add_argument("--new-only", action="store_true", help="leave out everything in a user's history")
    parser.add_argument("--at", default="", help="the moment of the lists (default: just after the last event)")
    parser.add_argument("--top", type=int, default=100)
    workbench.common_options(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(sys.argv[1:])
