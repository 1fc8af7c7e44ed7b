"""Inside a host's own transaction: what fails of ours is undone alone, and nothing is told before the commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import DatabaseError, connection, connections, transaction
from django.template import engines
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from recommender import capture, pipeline, serving
from recommender.catalog import sync
from recommender.identity import shopper_of
from recommender.models import Item, Visitor
from recommender.models.connections import apart, apart_once
from recommender.types import EventType
from shopreco.shop.models import Product
from tests.conftest import DemoShop, request_of


@pytest.fixture
def broken_prices(live_demo_shop: DemoShop) -> Iterator[None]:
    """A host's transaction in which reading a product fails; it is rolled back at the end."""
    serving.reload()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE shop_product RENAME TO gone")
        yield
        transaction.set_rollback(True)


@pytest.fixture
def broken_events(live_demo_shop: DemoShop) -> Iterator[None]:
    """The same, where the recommender's own events cannot be read or written."""
    serving.reload()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE recommender_event RENAME TO gone")
        yield
        transaction.set_rollback(True)


def drawn(source: str, request: Any) -> str:
    template = engines["django"].from_string("{% load recommender %}" + source)
    return str(template.render({}, request=request))


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
class TestTransactionOfTheHost:
    """`ATOMIC_REQUESTS` is off: a view has written `with transaction.atomic()` itself."""

    def test_tag_that_fails_leaves_it_usable(self, broken_prices: None) -> None:
        assert drawn("{% recommendations 'home' %}", request_of()).strip() == ""
        assert drawn("{% recommend 'home' as ranking %}{{ ranking.rung }}", request_of()) == "empty"
        assert Item.objects.exists()

    @pytest.mark.parametrize("ask", [lambda: pipeline.recommend("home"), lambda: pipeline.search("bag")])
    def test_pipeline_that_fails_leaves_it_usable(self, broken_prices: None, ask: Any) -> None:
        with pytest.raises(DatabaseError):
            ask()
        assert Item.objects.exists()

    def test_history_that_cannot_be_read_leaves_it_usable(self, broken_events: None) -> None:
        request = request_of()
        request.COOKIES["recommender_visitor"] = "x"
        shopper = shopper_of(request)
        shopper.visitor_key = Visitor.objects.create(has_consented=True).key
        with pytest.raises(DatabaseError):
            pipeline.recommend("home", shopper=shopper)
        assert Item.objects.exists()

    def test_capture_that_fails_leaves_it_usable(self, broken_events: None) -> None:
        request = request_of()
        capture.record(request, capture.EventDraft("m", EventType.VIEW_ITEM, timezone.now(), item_id="x"))
        capture.flush(request)
        assert Item.objects.exists()

    def test_source_of_events_that_fails_leaves_it_usable(self, live_demo_shop: DemoShop) -> None:
        def fail(shopper: Any) -> Any:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM no_such_table")

        request = request_of()
        capture.record_later(request, fail)
        with transaction.atomic():
            capture.flush(request)
            assert Item.objects.exists()

    def test_follower_of_a_save_that_fails_leaves_it_usable(self, live_demo_shop: DemoShop) -> None:
        """As after the commit of another database inside the transaction of this one."""
        product = live_demo_shop.product()
        catalog: Any = sync.catalog_of(product)
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE recommender_item RENAME TO gone")
            sync._follow_save(catalog, product)
            sync._follow_deletion(catalog, str(product.pk))
            assert Product.objects.exists()
            transaction.set_rollback(True)

    def test_savepoints_are_made_once_and_only_inside_a_transaction(self, transactional_db: None) -> None:
        with CaptureQueriesContext(connection) as outside, apart():
            pass
        assert len(outside) == 0
        with transaction.atomic(), CaptureQueriesContext(connection) as inside, apart(), apart_once():
            pass
        assert [query["sql"].split()[0] for query in inside.captured_queries] == ["SAVEPOINT", "RELEASE"]


class TestSecondDatabase:
    """What follows from a save or a deletion waits for the commit of the database where it happened."""

    @pytest.fixture
    def other(self, transactional_db: None, tmp_path: Path) -> Iterator[str]:
        connections.settings["other"] = {
            **connections.settings["default"],
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": tmp_path / "other.sqlite3",
            "OPTIONS": {},
        }
        connections["other"].connect()
        with connections["other"].schema_editor() as editor:
            for model in apps.get_app_config("shop").get_models():
                editor.create_model(model)
        yield "other"
        connections["other"].close()
        del connections["other"], connections.settings["other"]

    def test_deletion_that_was_rolled_back_hides_no_item(self, live_demo_shop: DemoShop, other: str) -> None:
        product = live_demo_shop.product()
        item = Item.objects.filter(item_id=product.stock_code, is_active=True)
        Product.objects.get(pk=product.pk).save(using=other, force_insert=True)
        with transaction.atomic(using=other):
            Product.objects.using(other).get(pk=product.pk).delete()
            transaction.set_rollback(True, using=other)
        assert item.exists()
        with transaction.atomic(using=other):
            Product.objects.using(other).get(pk=product.pk).delete()
            assert item.exists(), "not before the commit"
        assert not item.exists()

    def test_save_that_was_rolled_back_is_not_followed(
        self, live_demo_shop: DemoShop, other: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        followed: list[Any] = []
        monkeypatch.setattr(sync, "_follow_save", lambda catalog, instance: followed.append(instance))
        product = live_demo_shop.product()
        with transaction.atomic(using=other):
            product.save(using=other, force_insert=True)
            transaction.set_rollback(True, using=other)
        assert followed == []
