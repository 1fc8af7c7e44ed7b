"""A merchandiser's morning in a real browser: from the overview to a rule, an experiment and a promotion by two."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone
from selenium.webdriver.common.keys import Keys

from recommender import bundles, overview, pipeline, serving
from recommender.bundles import bundle_zero
from recommender.models import Bundle, Experiment, Rule, Segment, Synonym
from recommender.rules import costs
from recommender.serving import vectors
from tests.demo.looking import every_look, sign_in
from tests.demo.test_browser import Browser, browser, wait_for
from tests.overview.shop import bought, from_list, happened, shown, visitor

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

QUERY = "zampano"
"""Ten people searched it yesterday, and found nothing."""

ADMIN = "/admin/recommender/"


@pytest.fixture
def yesterday(live_demo_shop: Any) -> Segment:
    """What people did: searches without a result, lists that were clicked and bought from; and a segment."""
    serving.reload()
    at, item_id = timezone.now() - dt.timedelta(hours=20), pipeline.recommend("trending").entries[0].item_id
    for number in range(10):
        person = visitor()
        happened(person, "search", query=QUERY, after=dt.timedelta(0), since=at)
        shown(person, at=at, slot="search", query=QUERY, n_found=0)
        for day in range(3):
            seen = shown(person, item_id, at=at - dt.timedelta(days=day))
            if number % 3 == day:
                from_list(seen, "select_item", item_id, after=dt.timedelta(minutes=2))
        bought(seen, item_id, "12.00", currency="GBP", after=dt.timedelta(minutes=5))
    overview.roll_up(everything=True)
    overview.roll_up_queries(at=timezone.now())
    return Segment.objects.create(number=1, name="Mostly bells", n_people=10, computed_at=timezone.now())


@pytest.fixture
def challenger(yesterday: Segment, settings: Any) -> Bundle:
    """A bundle of another encoder, sound and with the vectors of all items, that waits for two people."""
    bundles.ensure_champion()
    settings.RECOMMENDER = settings.RECOMMENDER | {"ENCODER": "scratch", "PROMOTION_PEOPLE": 2}
    other = bundle_zero._export_untrained()
    vectors.encode_missing(other.name)
    return other


def choose(browser: Browser, name: str, value: str) -> None:
    browser.first(f"#id_{name} option[value='{value}']").click()


def write(browser: Browser, **fields: str) -> None:
    for name, value in fields.items():
        field = browser.first(f"#id_{name}")
        field.clear()
        field.send_keys(value)


def follow(browser: Browser, text: str) -> None:
    """The link that says so; the style sheet may have put it in capitals."""
    link = next(link for link in browser.all("#content a") if text.lower() in link.text.lower())
    link.send_keys(Keys.ENTER)


def confirm(browser: Browser, label: str) -> None:
    """Take a step: its button, and on the question page the button again."""
    follow(browser, label)
    browser.first(".rec-step input[type=submit]").send_keys(Keys.ENTER)
    wait_for(lambda: browser.all(".messagelist .success"), what=label)


def save(browser: Browser) -> None:
    browser.first("input[name=_save]").send_keys(Keys.ENTER)


def test_morning_of_a_merchandiser(browser: Browser, challenger: Bundle, yesterday: Segment) -> None:
    sign_in(browser, ADMIN + "overview/")
    every_look(browser, "overview")
    assert QUERY in browser.first("#content").text

    follow(browser, QUERY)
    wait_for(lambda: "/workbench/" in browser.driver.current_url, what="the workbench")
    assert browser.first("#id_query").get_attribute("value") == QUERY
    assert "Nothing on this page is recorded" in browser.first("#content").text
    every_look(browser, "workbench-query")

    browser.visit(ADMIN + "overview/")
    follow(browser, "add a synonym")
    assert browser.first("#id_words").get_attribute("value") == QUERY
    write(browser, meaning="bell")
    save(browser)
    wait_for(lambda: Synonym.objects.filter(words=QUERY).exists(), what="the synonym")

    browser.visit(ADMIN + "overview/")
    follow(browser, "write a rule")
    *_others, last = pipeline.recommend("home", limit=8).entries
    write(browser, name="What they meant", item_ids=last.item_id, position="1")
    choose(browser, "action", "pin")
    save(browser)
    wait_for(lambda: "/look/" in browser.driver.current_url, what="the page of the rule")
    rule = Rule.objects.get()
    assert (rule.query, rule.match) == (QUERY, "exact")

    choose(browser, "segment", str(yesterday.pk))
    browser.first(".rec-preview input[type=submit]").click()
    wait_for(lambda: "segment=" in browser.driver.current_url, what="the preview")
    before, after = browser.all(".rec-columns-2 > section")
    assert "by this rule" in after.text
    assert "by this rule" not in before.text
    every_look(browser, "rule-preview")

    confirm(browser, "Submit for review")
    confirm(browser, "Publish")
    assert Rule.objects.get().state == "live"
    costs.measure_live(at=timezone.now())
    browser.visit(f"{ADMIN}rule/{rule.pk}/look/")
    assert "What it costs" in browser.first("#content").text

    browser.visit(ADMIN + "experiment/add/")
    write(browser, name="Calmer lists", diversity="0.5", share="1", variant_share="0.5")
    every_look(browser, "experiment-form")
    save(browser)
    wait_for(lambda: Experiment.objects.exists(), what="the plan")
    browser.visit(f"{ADMIN}experiment/{Experiment.objects.get().pk}/change/")
    confirm(browser, "Start")
    assert Experiment.objects.get().state == "live"
    every_look(browser, "experiment")

    for person in ("admin", "grace"):
        assert bundles.champion() != challenger
        url = f"{ADMIN}bundle/{challenger.pk}/approve/"
        sign_in(browser, url, person)
        browser.first("textarea, input[name=note]").send_keys("Exposure and ten searches look right.")
        if person == "grace":
            every_look(browser, "promotion")
        browser.first(".rec-step input[type=submit]").send_keys(Keys.ENTER)
        wait_for(lambda: browser.all(".messagelist li"), what="the approval")
    assert bundles.champion() == challenger
    browser.visit(ADMIN + "approval/actions/")
    assert "grace" in browser.first("#content").text
    every_look(browser, "actions")

    for page in ("exposure", "segment", "persona", "run"):
        browser.visit(f"{ADMIN}{page}/")
        every_look(browser, page)
