"""Whatever table of ours fails, and whenever: the host's page and its transaction are what they would be without us.

Every table is tried, gone and refusing writes, at every moment at which a host meets us; with and without
`ATOMIC_REQUESTS`, and where a view opens a transaction itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model, login, logout
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.test import Client
from django.urls import path

from recommender import serving, tracking
from recommender.serving import memory
from recommender.types import EventType
from shopreco.shop.models import Department, Order, OrderLine, Product
from tests.conftest import DemoShop

TABLES = [model._meta.db_table for model in apps.get_app_config("recommender").get_models()]
NAMES = ("before", "after")
"""Rows of the host, written before and after we were met."""


def drawn(request: HttpRequest, source: str) -> str:
    return str(engines["django"].from_string("{% load recommender %}" + source).render({}, request=request))


def see_lists(request: HttpRequest) -> object:
    return drawn(
        request, "{% recommendations 'home' %}{% recommendations 'for_you' %}{% recommend 'cart' as row %}{{ row }}"
    )


def see_results(request: HttpRequest) -> object:
    return drawn(request, "{% search 'bag' %}{% search 'mug' as found %}{{ found.entries }}")


def see_product(request: HttpRequest) -> object:
    return tracking.record_page(request, EventType.VIEW_ITEM, item_id=_product().stock_code)


def fill_cart(request: HttpRequest) -> object:
    return tracking.record_page(request, EventType.ADD_TO_CART, item_id=_product().stock_code)


def save_product(request: HttpRequest) -> object:
    product = _product()
    product.title = (
        product.title.removesuffix(" again") if product.title.endswith(" again") else f"{product.title} again"
    )
    return product.save()


def delete_product(request: HttpRequest) -> object:
    return Product.objects.create(stock_code="short-lived", title="Short-lived", price=1).delete()


def buy(request: HttpRequest) -> object:
    order = Order.objects.create(number=f"n{Order.objects.count()}")
    return OrderLine.objects.create(order=order, product=_product(), unit_price=1)


def sign_in(request: HttpRequest) -> object:
    return login(
        request, get_user_model().objects.order_by("pk")[0], backend="django.contrib.auth.backends.ModelBackend"
    )


def sign_out(request: HttpRequest) -> object:
    sign_in(request)
    return logout(request)


MOMENTS: dict[str, Callable[[HttpRequest], object]] = {
    moment.__name__: moment
    for moment in (see_lists, see_results, see_product, fill_cart, save_product, delete_product, buy, sign_in, sign_out)
}


def _product() -> Product:
    return Product.objects.filter(is_visible=True).order_by("pk")[0]


def page_of_the_host(request: HttpRequest) -> HttpResponse:
    with transaction.atomic() if request.GET["transaction"] == "view" else nullcontext():
        Department.objects.create(name="before", slug="before")
        MOMENTS[request.GET["moment"]](request)
        Department.objects.create(name="after", slug="after")
        assert get_user_model().objects.exists()
    return HttpResponse("the host's page")


urlpatterns = [
    path("page/", page_of_the_host),
    path("search/", page_of_the_host, name="search"),
    path("product/<stock_code>/", page_of_the_host, name="product"),
]


@contextmanager
def gone(table: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO planted_gone")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE planted_gone RENAME TO {table}")


@contextmanager
def refusing_writes(table: str) -> Iterator[None]:
    """As on a full disk, or under a read-only role."""
    refusals = {
        "sqlite": [
            f"CREATE TRIGGER planted_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'planted'); END"
            for verb in ("INSERT", "UPDATE", "DELETE")
        ],
        "postgresql": [
            "CREATE FUNCTION planted() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'planted'; END $$ LANGUAGE plpgsql",
            f"CREATE TRIGGER planted BEFORE INSERT OR UPDATE OR DELETE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION planted()",
        ],
    }[connection.vendor]
    repairs = {
        "sqlite": [f"DROP TRIGGER planted_{verb}" for verb in ("INSERT", "UPDATE", "DELETE")],
        "postgresql": ["DROP FUNCTION planted CASCADE"],
    }[connection.vendor]
    with connection.cursor() as cursor:
        for statement in refusals:
            cursor.execute(statement)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for statement in repairs:
                cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["nowhere", "view", "request"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_host_is_the_same_whichever_table_fails(
    live_demo_shop: DemoShop, settings: Any, monkeypatch: pytest.MonkeyPatch, moment: str, where: str
) -> None:
    settings.ROOT_URLCONF = "tests.test_failing_tables"
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", where == "request")
    differing = []
    for fail in (gone, refusing_writes):
        for table in TABLES:
            serving.reload()
            with fail(table):
                if table == TABLES[0]:
                    memory._memory.served = None  # the load itself meets the fault
                fault = _differs(moment, where)
            if fault:
                differing.append(f"{fail.__name__} {table}: {fault}")
    assert not differing, "\n".join(differing)


def _differs(moment: str, where: str) -> str:
    """What is wrong with the host's page or rows; "" if nothing is."""
    client = Client(raise_request_exception=False)
    client.cookies["recommender_consent"] = "granted"
    response = client.get("/page/", {"moment": moment, "transaction": where})
    n_rows = Department.objects.filter(name__in=NAMES).delete()[0]
    if response.status_code != 200:
        return f"{response.status_code} {getattr(response, 'exc_info', None)!r:.300}"
    if response.content != b"the host's page":
        return f"{response.content!r:.100}"
    return "" if n_rows == len(NAMES) else f"{n_rows} rows of the host"
