"""A shop whose models and orders use what Django allows, in a process of its own."""

from __future__ import annotations

from pathlib import Path

from tests import shops


def test_shop_with_odd_models_and_orders_gets_everything(tmp_path: Path) -> None:
    shop = shops.TESTS / "odd_shop"
    output = shops.succeed(shops.drive(shop, "-m", "pytest", "-c", "pytest.ini", ".", ODD_VAR=str(tmp_path)))
    assert "passed" in output
    assert "skipped" not in output
