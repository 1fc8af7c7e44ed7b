"""A shop with real translations and a tree, by django-parler, -modeltranslation and -mptt, in its own process."""

from __future__ import annotations

from pathlib import Path

from tests import shops


def test_shop_with_translated_texts_gets_everything(tmp_path: Path) -> None:
    shop = shops.TESTS / "languages_shop"
    output = shops.succeed(shops.drive(shop, "-m", "pytest", "-c", "pytest.ini", ".", LANGUAGES_VAR=str(tmp_path)))
    assert "passed" in output
    assert "skipped" not in output
