"""The doctor names each problem of an installation with the command that repairs it, and leaves nothing behind."""

from __future__ import annotations

import datetime as dt
import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone

from recommender import capture, jobs, tracking
from recommender.catalog import Catalog, Constant
from recommender.management import doctor
from recommender.management.doctor import examine
from recommender.management.findings import Finding, exit_code
from recommender.models import Bundle, Event, Item, Job, Visitor, Worker
from recommender.tracking import page, track_pages
from shopreco.shop.models import Product

pytestmark = pytest.mark.django_db


def findings_on(findings: list[Finding], topic: str) -> list[Finding]:
    return [finding for finding in findings if finding.topic == topic]


def run(*arguments: str) -> tuple[str, int]:
    output = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("recommender_doctor", *arguments, stdout=output)
    return output.getvalue(), ended.value.code


@pytest.fixture
def nothing_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_pages", {})
    monkeypatch.setattr(tracking, "_rows", {})


def test_sound_installation_has_no_finding_but_good_ones(demo_shop: Any) -> None:
    Worker.objects.create(name="worker", does="short,training", beat_at=timezone.now())
    for name in jobs.WORK:
        Job.objects.create(name=name, started_at=timezone.now(), finished_at=timezone.now())
    n_events = Event.objects.count()
    output, code = run()
    assert code == 0, output
    assert "An event was written, read and removed." in output
    assert "GET shop:product is view_item: /item/<str:stock_code>/" in output
    assert output.count(" GBP · ") >= 3
    assert Event.objects.count() == n_events


def test_empty_shop_is_told_what_to_run() -> None:
    findings = examine()
    assert exit_code(findings) == 1
    assert findings_on(findings, "items")[-1].level == "warning"
    Product.objects.create(stock_code="A", title="Mug", price=1)
    Item.objects.all().delete()
    assert findings_on(examine(), "items")[-1].repair == "python manage.py recommender_sync"


def test_report_as_json_is_whole() -> None:
    output, code = run("--json")
    report = json.loads(output)
    assert report["exit_code"] == code == 1
    assert {"topic", "level", "message", "repair"} == set(report["findings"][0])


def test_page_whose_url_is_gone_is_an_error(nothing_tracked: None) -> None:
    track_pages(page("shop:gone", "view_item", item_id="kwargs.pk"))
    (finding,) = findings_on(examine(), "pages")
    assert finding.level == "error"
    assert "shop:gone" in finding.message


def test_nothing_tracked_is_a_warning(nothing_tracked: None) -> None:
    (finding,) = findings_on(examine(), "pages")
    assert (finding.level, "track_pages" in finding.repair) == ("warning", True)


def test_catalog_that_fails_is_an_error_and_the_others_are_examined(monkeypatch: Any) -> None:
    class Broken(Catalog):
        def price(self, obj: Any) -> Any:
            raise ValueError("no price list")

    monkeypatch.setattr("recommender.catalog.registry._catalogs", {"shop.product": Broken("shop.Product")})
    Product.objects.create(stock_code="A", title="Mug", price=1)
    findings = examine()
    assert exit_code(findings) == 2
    assert "no price list" in findings_on(findings, "items")[0].message
    assert findings_on(findings, "test event")[0].level == "ok"


def test_rows_that_no_signal_told_of_are_counted_with_the_repair(demo_shop: Any) -> None:
    Event.objects.filter(source="order").delete()
    (finding,) = findings_on(examine(), "orders")
    assert (finding.level, finding.repair) == ("warning", "python manage.py recommender_reconcile")


def test_purchases_that_are_only_claimed_are_told_with_the_repair(nothing_tracked: None) -> None:
    assert not findings_on(examine(), "orders")
    Event.objects.create(message_id="p", type="purchase", item_id="mug", source="api", occurred_at=timezone.now())
    (finding,) = findings_on(examine(), "orders")
    assert (finding.level, "@track_rows" in finding.repair) == ("warning", True)


def test_test_event_is_removed_even_if_looking_for_it_fails(monkeypatch: Any) -> None:
    stored = capture.ingest

    def stored_and_broken(drafts: Any) -> Any:
        stored(drafts)
        assert Event.objects.filter(message_id__startswith="doctor:").exists()
        raise OperationalError("the connection is gone")

    monkeypatch.setattr(doctor.capture, "ingest", stored_and_broken)
    (finding,) = findings_on(examine(), "test event")
    assert (finding.level, "connection is gone" in finding.message) == ("error", True)
    assert not Event.objects.filter(message_id__startswith="doctor:").exists()
    assert not Visitor.objects.exists()


def test_missing_tables_end_the_examination_with_the_command(monkeypatch: Any) -> None:
    from django.db.migrations.recorder import MigrationRecorder

    MigrationRecorder.Migration.objects.filter(app="recommender").delete()
    findings = examine()
    assert exit_code(findings) == 2
    assert findings_on(findings, "tables")[0].repair == "python manage.py migrate recommender"
    assert not findings_on(findings, "test event")


def test_arrivals_are_told_by_type(demo_shop: Any) -> None:
    assert "purchase" in findings_on(examine(minutes=60), "arrivals")[0].message
    assert "Nothing in the last" in findings_on(examine(minutes=0), "arrivals")[0].message


def test_shop_without_our_urls_is_warned(settings: Any) -> None:
    settings.ROOT_URLCONF = "shopreco.shop.urls"
    (finding,) = findings_on(examine(), "urls")
    assert (finding.level, "include" in finding.repair) == ("warning", True)


class TestItemsThatDoNotExist:
    """Training cannot use an event of an unknown item; the doctor names the item that was probably meant."""

    @pytest.fixture
    def mug(self, monkeypatch: pytest.MonkeyPatch) -> Product:
        monkeypatch.setattr("recommender.catalog.registry._catalogs", {"shop.product": Catalog("shop.Product")})
        mug = Product.objects.create(stock_code="red-mug", title="Red mug", price=1)
        Item.objects.all().delete()
        Item.objects.create(item_id=f"product:{mug.pk}", label="shop.Product", object_id=str(mug.pk), title="Red mug")
        return mug

    def seen(self, *item_ids: str, kind: str = "view_item") -> None:
        at = timezone.now()
        capture.ingest(
            [capture.EventDraft(f"m{n}{kind}", kind, at, item_id, source="order") for n, item_id in enumerate(item_ids)]
        )

    def test_likely_item_is_named_with_the_page_to_write(self, mug: Product) -> None:
        self.seen("red-mug", f"product:{mug.pk}")
        (finding,) = findings_on(examine(), "item ids")
        assert finding.level == "warning"
        assert finding.message == (
            "1 of the last 2 view_item events name items that do not exist, such as 'red-mug': the item with "
            f"this stock_code has the id 'product:{mug.pk}'."
        )
        assert 'item_id=("shop.Product", "kwargs.<part>", "stock_code")' in finding.repair

    def test_bare_keys_of_order_rows_are_recognised(self, mug: Product) -> None:
        self.seen(str(mug.pk), kind="purchase")
        (finding,) = findings_on(examine(), "item ids")
        assert (finding.level, f"'product:{mug.pk}'" in finding.message) == ("error", True)
        assert "path to the Product itself" in finding.repair

    def test_id_like_no_other_is_told_with_the_shape_of_an_id(self, mug: Product) -> None:
        self.seen("teapot")
        (finding,) = findings_on(examine(), "item ids")
        assert f"Item ids look like 'product:{mug.pk}'" in finding.message
        assert "recommender_sync" in finding.repair

    def test_items_that_exist_are_fine(self, mug: Product) -> None:
        self.seen(f"product:{mug.pk}")
        assert [finding.level for finding in findings_on(examine(), "item ids")] == ["ok"]


@pytest.mark.parametrize("declared", ["left out", "None", "Constant(None)"])
def test_shop_without_pages_says_so_once(monkeypatch: Any, declared: str) -> None:
    """Behind an API items have no address: the doctor asks for one until the Catalog says that there is none."""
    values = {"left out": {}, "None": {"url": None}, "Constant(None)": {"url": Constant(None)}}[declared]
    headless = type("Headless", (Catalog,), values)("shop.Product")
    monkeypatch.setattr("recommender.catalog.registry._catalogs", {"shop.product": headless})
    monkeypatch.setattr(Product, "get_absolute_url", lambda self: "/somewhere/" if declared == "None" else "")
    product = Product.objects.create(stock_code="A", title="Mug", price=1)
    assert headless.facts(product).url == ""
    lacking = [finding for finding in findings_on(examine(), "items") if "no URL" in finding.message]
    assert [finding.level for finding in lacking] == ["warning" if declared == "left out" else "ok"]
    assert ("url = None" in lacking[0].repair) is (declared == "left out")


def test_quarantined_bundle_is_reported_until_a_newer_one_serves() -> None:
    Bundle.objects.create(name="broken", state=Bundle.State.QUARANTINED, manifest={"quarantined": "head.json changed"})
    (finding,) = findings_on(examine(), "bundles")
    assert (finding.level, finding.repair) == ("error", "python manage.py recommender_train")
    assert "broken is quarantined: head.json changed" in finding.message
    before = Bundle.objects.create(name="before", created_at=timezone.now() - dt.timedelta(days=1))
    Bundle.objects.filter(pk=before.pk).update(state=Bundle.State.CHAMPION)
    assert [finding.level for finding in findings_on(examine(), "bundles")] == ["warning"]
    Bundle.objects.filter(pk=before.pk).update(created_at=timezone.now())
    assert findings_on(examine(), "bundles") == []
