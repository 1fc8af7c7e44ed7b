"""`recommender_init` keeps existing files, says what is missing, and asks only what the shop alone can decide."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command

from recommender import tracking
from recommender.catalog import catalogs
from recommender.management.commands import recommender_init
from recommender.management.drafting import facts, steps, trial


def init(*options: str) -> str:
    output = StringIO()
    call_command("recommender_init", *options, stdout=output)
    return output.getvalue()


@pytest.fixture
def shop_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's app as it is, but its file would be written elsewhere."""
    monkeypatch.setattr(apps.get_app_config("shop"), "path", str(tmp_path))
    return tmp_path


def test_draft_of_the_demo_names_its_products_orders_and_pages(demo_shop: Any) -> None:
    text = init("--stdout")
    compile(text, "recommendations.py", "exec")
    assert '@register("shop.Product")' in text
    assert '@track_rows("shop.OrderLine")' in text
    pages = re.findall(r'^    page\("([\w:]+)", "(\w+)"', text, re.MULTILINE)
    assert pages == [
        ("shop:product", "view_item"),
        ("shop:search", "search"),
        ("shop:cart_add", "add_to_cart"),
        ("shop:cart_remove", "remove_from_cart"),
    ]  # neither the list of a department nor a changed quantity


def test_what_is_shown_is_what_would_be_recorded(demo_shop: Any, shop_folder: Path) -> None:
    output = init("--noinput")
    product = demo_shop.product()
    declared = len(catalogs()), len(tracking.tracked_pages()), len(tracking.tracked_rows())
    assert (shop_folder / "recommendations.py").exists()
    items = output.split("Items, as they would be stored:")[1].split("\n\n")[0].strip().splitlines()
    assert len(items) == 3
    assert all(line.strip().startswith("product:") for line in items)
    assert output.count("\n  order ") == 2
    assert "which is not its item" not in output
    assert declared == (len(catalogs()), len(tracking.tracked_pages()), len(tracking.tracked_rows()))
    assert product.pk


def test_file_that_is_there_stays_and_the_draft_is_beside_it(demo_shop: Any, shop_folder: Path) -> None:
    mine = shop_folder / "recommendations.py"
    mine.write_text("# mine\n")
    output = init("--noinput")
    assert mine.read_text() == "# mine\n"
    assert "@register" in (shop_folder / "recommendations_draft.py").read_text()
    assert "stays as it is" in output
    init("--noinput", "--force")
    assert "@register" in mine.read_text()


@pytest.mark.parametrize("option", ["--stdout", "--dry-run"])
def test_printing_writes_nothing(option: str, demo_shop: Any, shop_folder: Path) -> None:
    init(option)
    assert not list(shop_folder.iterdir())


def test_shop_is_told_how_many_orders_wait_for_its_decision(demo_shop: Any, shop_folder: Path) -> None:
    from shopreco.shop.models import Order

    n_orders = Order.objects.filter(lines__isnull=False).distinct().count()
    assert f"{n_orders} past orders wait" in init("--noinput")
    decided = init("--noinput", "--order-consent", "pseudonymous")
    assert "wait" not in decided
    assert 'RECOMMENDER = {..., "ORDER_CONSENT": "pseudonymous"}' in decided


def test_decision_that_the_settings_hold_is_not_asked_again(
    demo_shop: Any, shop_folder: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ORDER_CONSENT": "required"}
    monkeypatch.setattr(recommender_init.sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: pytest.fail(question))
    assert "wait for a decision" not in init()


def test_person_at_a_terminal_is_asked_once(demo_shop: Any, shop_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[str] = []
    monkeypatch.setattr(recommender_init.sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or "shop.privacy.agreed")
    assert '"ORDER_CONSENT": "shop.privacy.agreed"' in init()
    assert len(questions) == 1
    init("--noinput")
    assert len(questions) == 1


def test_choice_of_consent_that_is_none_is_refused(demo_shop: Any, shop_folder: Path) -> None:
    with pytest.raises(CommandError, match="required"):
        init("--noinput", "--order-consent", "everybody")
    assert not list(shop_folder.iterdir())


def test_missing_lines_of_settings_are_told(settings: Any) -> None:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if not name.startswith("recommender")]
    settings.ROOT_URLCONF = "tests.urls_of_keys"
    lines = "\n".join(steps.missing_lines())
    assert 'MIDDLEWARE = ["recommender.middleware.RecommenderMiddleware", ...]' in lines
    assert 'path("recommender/", include("recommender.urls"))' in lines


def test_products_of_an_installed_package_need_an_app_of_the_shop(
    demo_shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "is_installed_package", lambda label: True)
    with pytest.raises(CommandError, match="--app"):
        init("--noinput")


def test_draft_that_cannot_be_read_says_so(db: None) -> None:
    result = trial.try_out(
        "from recommender.catalog import Catalog, register\n"
        "from recommender.tracking import page, track_pages\n"
        '@register("shop.Product")\n'
        "class Products(Catalog):\n"
        '    price = "no_such_price"\n'
    )
    assert any("no_such_price" in fault for fault in result.faults)


def test_page_that_names_another_item_is_told(demo_shop: Any) -> None:
    result = trial.try_out(
        "from recommender.catalog import Catalog, Constant, register\n"
        "from recommender.tracking import page, track_pages\n"
        'register("shop.Product")(Catalog)\n'
        'track_pages(page("shop:product", "view_item", item_id=Constant("product:0")))\n'
    )
    assert any("which is not its item" in line for line in result.pages)
