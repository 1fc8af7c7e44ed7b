"""Every page of the merchandiser's console fits wide and narrow screens, in light and in dark; see `make pictures`."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.admin.pages import plant
from tests.demo.looking import every_look
from tests.demo.test_accessibility import SHOP_PAGES, admin_pages
from tests.demo.test_browser import Browser, browser

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TOOLS = (
    ("start", ""),
    ("health", "health/"),
    ("exposure", "exposure/"),
    ("workbench", "workbench/?slot=home"),
    ("alarms", "alarm/"),
    ("synonyms", "synonym/"),
)
"""Pages of the console that stand for themselves."""


def test_every_page_fits_every_screen(browser: Browser, client: Client) -> None:
    plant()
    client.force_login(User.objects.create_superuser("ada"))
    browser.visit("/privacy/")
    browser.driver.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})
    tools = [(name, f"/admin/recommender/{path}") for name, path in TOOLS]
    pages = [*tools, *admin_pages(), *((f"shop {name}", path) for name, path in SHOP_PAGES)]
    for name, path in pages:
        browser.visit(path)
        assert "404" not in browser.driver.title
        assert browser.all("#content, main"), f"{name} is not there"
        every_look(browser, name.replace(" ", "-"))
