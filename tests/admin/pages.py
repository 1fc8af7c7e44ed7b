"""Every page of the app in the admin: the addresses, and rows of each model, so that each has something to show."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.urls import NoReverseMatch, URLPattern, reverse
from django.utils import timezone

from recommender import exposure, models, overview, serving
from recommender.models import Item
from recommender.personas import merging
from shopreco.shop.models import Customer, Department, Product
from tests.admin.test_admin import METRICS, make_bundle, make_run, rail
from tests.admin.test_experiments import RESULTS
from tests.demo.test_rules_in_browser import COST

ACCENTED = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "åƀçđéƒĝĥîĵķļɱñöþɋŕšţûṽŵẋýžÅƁÇĐÉƑĜĤÎĴĶĻṀÑÖÞɊŔŠŢÛṼŴẊÝŽ"
)
NO_PAGE = {"jsi18n", "autocomplete", "delete", "recommender_actions_export", "recommender_exposure_export"}
"""Addresses that are no page of their own: what they answer is a script or a file, or nobody may open them."""


def accented(text: str) -> str:
    """The text as somebody might have typed it who has no plain letters on the keyboard."""
    return text.translate(ACCENTED)


def plant() -> None:
    """Give the demo shop a row of every model that has pages, and no word of its own in plain letters."""
    for model in (Item, Product):
        for row in model._default_manager.all():
            model._default_manager.filter(pk=row.pk).update(title=accented(row.title))
    for department in Department.objects.all():
        Department.objects.filter(pk=department.pk).update(name=accented(department.name))
    Item.objects.update(category=accented("Bags"), text=accented("A bag."))
    Customer.objects.update(country=accented("France"))
    item, at = Item.objects.order_by("pk")[0], timezone.now()
    visitor = models.Visitor.objects.order_by("pk")[0]
    _plant_behaviour(item, visitor, at)
    _plant_models(at)
    _plant_rules(item, at)
    for state in ("draft", "live"):
        models.ProfitDial.objects.create(slot="home", weight=1, note=accented("Spring."), state=state)
    models.ExposureFloor.objects.create(attribute="category", value=accented("Bags"), part=9)
    exposure.count_days(at=at)
    exposure.watch_floors(at=at)
    overview.roll_up(at=at)
    overview.roll_up_queries(at=at)
    user = get_user_model()._default_manager.order_by("-pk")[0]
    LogEntry.objects.create(
        user=user, content_type=ContentType.objects.get_for_model(models.Rule), object_id="1", action_flag=CHANGE,
        object_repr=accented("a rule"), change_message=accented("It went live."),
    )  # fmt: skip
    serving.reload()


def _plant_behaviour(item: Item, visitor: Any, at: dt.datetime) -> None:
    query = accented("tea cups")
    earlier = at - dt.timedelta(hours=2)
    for n in range(12):
        shopper = models.Visitor.objects.create(last_seen_at=at)
        models.Impression.objects.create(
            slot="home", rung="popularity", item_ids=[item.item_id], visitor=shopper, occurred_at=earlier
        )
        models.Impression.objects.create(
            slot="search", rung="lexical", item_ids=[], query=query, n_found=0, visitor=shopper, occurred_at=earlier
        )
        for kind in ("view_item", "search"):
            models.Event.objects.create(
                message_id=f"{kind}-{n}", type=kind, item_id=item.item_id if kind == "view_item" else "",
                query="" if kind == "view_item" else query, visitor=shopper, occurred_at=earlier, source="page",
            )  # fmt: skip
    models.QueryStatistics.objects.update_or_create(query=query, defaults={"n_visitors": 12, "n_searches": 12})
    models.Alarm.objects.create(
        day=at.date(), n_days=7, kind=models.Alarm._meta.get_field("kind").choices[0][0], item_id=item.item_id,
        n_people=50, limit=20,
    )  # fmt: skip
    models.RejectedEvent.objects.create(code="type", reason=accented("no such type"), payload={}, visitor=visitor)
    models.EventCount.objects.create(day=at.date(), source="page", accepted=9, dropped=1)
    models.Segment.objects.create(number=1, own_name=accented("tea lovers"), n_people=9, traits=[], computed_at=at)
    parts = [models.Segment.objects.create(number=n, own_name=accented(f"bags {n}"), n_people=9) for n in (2, 3)]
    merging.merge([part.pk for part in parts], name=accented("all bags"))
    models.Segment.objects.create(number=4, own_name=accented("toys"), n_people=7, traits=[], computed_at=at)
    hook = models.Webhook.objects.create(
        name=accented("the mails"), url="https://127.0.0.1/", secret="x" * 16, source="due", created_at=at
    )
    for state, fault in (("delivered", ""), ("failed", "timeout"), ("waiting", "server"), ("replaced", "")):
        models.Delivery.objects.create(webhook=hook, state=state, fault=fault, n_attempts=2, n_changes=7, status=None)
    models.WebhookMember.objects.create(webhook=hook, user_key="1", digest="", erased_at=at)
    models.Synonym.objects.create(words=accented("tea"), meaning=accented("char"))
    models.Judgement.objects.create(query=query, item_id=item.item_id, grade=1.0)
    models.Erasure.objects.create()


def _plant_models(at: dt.datetime) -> None:
    champion, candidate = make_bundle("champion", "1" * 32), make_bundle(name="2" * 32)
    metrics = METRICS | {"guardrails": [rail("coverage", "held", value=0.3, baseline=0.3, bound=0.04, tolerance=0.1)]}
    make_run(bundle=candidate, verdict="refused", metrics=metrics)
    make_run(bundle=champion, verdict="promoted", metrics=metrics)
    watched = models.WatchedQuery.objects.create(query=accented("tea cups"), note=accented("look"), item_ids=["1"])
    for n, run in enumerate(models.Run.objects.order_by("pk")):
        models.WatchedResult.objects.create(
            watched=watched, run=run, overlap=0.8, overlap_saved=0.9, n_graded=2, ndcg=0.5 + n / 4, ndcg_serving=0.6
        )
    models.Approval.objects.create(bundle=candidate, name="ada", note=accented("It looks good."))
    models.Experiment.objects.create(
        name=accented("calmer lists"), changes={"diversity": 0.5}, state="live", started_at=at, results=RESULTS,
        measured_at=at, planned_people=4_000,
    )  # fmt: skip
    models.ApiKey.objects.create(name=accented("the app"))
    visitor = models.Visitor.objects.order_by("pk")[0]
    models.AppToken.objects.create(visitor=visitor, expires_at=at)
    models.VisitorLink.objects.create(visitor=visitor, user_key="1")


def _plant_rules(item: Item, at: dt.datetime) -> None:
    common = {"state": "live", "slot": "home", "reviewed_at": at, "cost_at": at}
    models.Rule.objects.create(
        name=accented("Bells first"), action="pin", item_ids=[item.item_id, "0"], position=1, cost=COST, **common
    )
    models.Rule.objects.create(name=accented("Never those"), action="exclude", item_ids=[item.item_id], **common)


def addresses() -> Iterator[tuple[str, str]]:
    """Name and address of every page that a GET opens, by the patterns of each admin class of the app."""
    for model in apps.get_app_config("recommender").get_models():
        if model_admin := admin.site._registry.get(model):
            for pattern in model_admin.get_urls():
                name = pattern.name if isinstance(pattern, URLPattern) else None
                if name and name.rpartition("_")[2] not in NO_PAGE and name not in NO_PAGE:
                    yield from ((name, url) for url in _urls(name, model))
    workbench = reverse("admin:recommender_workbench_changelist")
    shopper = models.Visitor.objects.exclude(user_key=None).order_by("pk")[0].key
    for values in (f"slot=search&query={accented('bag cups')}", f"slot=home&person={shopper}", "slot=trending&rule=1"):
        yield "workbench", f"{workbench}?{values}"
    chosen = models.Segment.objects.in_use().filter(is_merged=False).values_list("pk", flat=True)
    segments = "&".join(f"segment={pk}" for pk in chosen)
    yield "recommender_segment_merge", f"{reverse('admin:recommender_segment_merge')}?{segments}"
    yield "app_list", reverse("admin:app_list", args=["recommender"])


def _urls(name: str, model: Any) -> list[str]:
    """The address with and without the key of the model's newest rows, whichever the pattern takes."""
    try:
        return [reverse(f"admin:{name}")]
    except NoReverseMatch:
        keys = list(model._default_manager.order_by("-pk").values_list("pk", flat=True)[:2])
        assert keys or model._meta.proxy, (
            f"plant a {model.__name__} in tests/admin/pages.py: its page {name} has nothing to show"
        )
        return [reverse(f"admin:{name}", args=[key]) for key in keys]
