"""A merchandiser with a real browser and no script: writes a rule, sees it before and after, and publishes it."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from recommender import pipeline, serving
from recommender.models import Rule
from tests.demo.looking import every_look, sign_in
from tests.demo.test_browser import Browser, browser, wait_for

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

COST = {
    "n_on": 18_900, "n_out": 1_010, "n_mixed": 12, "currency": "GBP", "n_other_currency": 0,
    "clicks": {"on": 0.31, "out": 0.27, "low": 0.012, "difference": 0.04, "high": 0.067},
    "orders": {"on": 0.041, "out": 0.045, "low": -0.018, "difference": -0.004, "high": 0.008},
    "revenue": {"on": 1.13, "out": 1.42, "low": -0.55, "difference": -0.29, "high": -0.03},
}  # fmt: skip


def test_merchandiser_writes_previews_and_publishes_a_rule(browser: Browser) -> None:
    serving.reload()
    last = pipeline.recommend("home", limit=10).entries[-1]
    sign_in(browser, "/admin/recommender/rule/add/")
    every_look(browser, "rule-form")
    fields: dict[str, Any] = {"name": "Bells first", "item_ids": last.item_id, "position": "1"}
    for name, value in fields.items():
        browser.first(f"#id_{name}").send_keys(value)
    for name, value in {"action": "pin", "slot": "home"}.items():
        browser.first(f"#id_{name} option[value={value}]").click()
    browser.first("#id_name").send_keys(Keys.ENTER)
    wait_for(lambda: "/look/" in browser.driver.current_url, what="the page of the rule")
    columns = browser.all(".rec-columns-2 .rec-cards-list")
    firsts = [column.find_element(By.CSS_SELECTOR, "li").text for column in columns]
    assert last.live is not None
    assert "by this rule" in firsts[1]
    assert last.live.title in firsts[1]
    assert last.live.title not in firsts[0]
    for label in ("Submit for review", "Publish"):
        browser.driver.find_element(By.LINK_TEXT, label).send_keys(Keys.ENTER)
        button = browser.first(".rec-step input[type=submit]")
        if label == "Publish":
            every_look(browser, "rule-question")
            button = browser.first(".rec-step input[type=submit]")
        button.send_keys(Keys.ENTER)
        wait_for(lambda: browser.all(".messagelist .success"), what=label)
    assert Rule.objects.get().state == "live"
    serving.reload()
    browser.driver.delete_all_cookies()
    browser.visit("/")
    assert browser.titles("home")[0] == last.live.title


def test_pages_of_rules_fit_every_screen(browser: Browser) -> None:
    serving.reload()
    entries = pipeline.recommend("home", limit=10).entries
    common = {"state": "live", "slot": "home", "reviewed_at": timezone.now(), "cost_at": timezone.now()}
    rule = Rule.objects.create(
        name="Bells first", action="pin", item_ids=[entries[8].item_id, "gone"], position=1, cost=COST, **common
    )
    Rule.objects.create(name="Never those", action="exclude", item_ids=[entries[8].item_id], **common)
    Rule.objects.create(name="Up to the fair", action="banner", text="Ten per cent off until Sunday", **common)
    serving.reload()
    sign_in(browser, "/admin/recommender/rule/")
    every_look(browser, "rules")
    browser.visit(f"/admin/recommender/rule/{rule.pk}/look/")
    assert "surely less" in browser.first(".rec-table").text
    every_look(browser, "rule")
    browser.driver.delete_all_cookies()
    browser.visit("/")
    every_look(browser, "shop")
