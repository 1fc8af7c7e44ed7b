"""axe finds nothing on the pages that people use most: light and dark, on a phone and on a desk."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from recommender import serving
from recommender.models import Bundle, Experiment, ProfitDial, Rule, Run, Segment, Visitor, Webhook
from tests.admin.pages import plant
from tests.demo.test_browser import Browser, browser

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
AXE = importlib.resources.files("axe_playwright_python") / "axe.min.js"
RUN = """
const done = arguments[arguments.length - 1];
const row = (one, node) => [one.id, node.target.join(" "), node.html.slice(0, 160), node.failureSummary];
axe.run(document, {runOnly: {type: "tag", values: arguments[0]}}).then(
  found => done(found.violations.flatMap(one => one.nodes.map(node => row(one, node)))),
  error => done([["error", String(error), "", ""]]));
"""


def admin_pages() -> Iterator[tuple[str, str]]:
    """Name and path of the pages of the admin."""
    base = "/admin/recommender"
    rule, run = Rule.objects.order_by("pk")[0], Run.objects.order_by("pk")[0]
    bundle = Bundle.objects.get(state="candidate")
    persona = Visitor.objects.exclude(user_key=None).order_by("pk")[0]
    yield "overview", f"{base}/overview/"
    yield "rules", f"{base}/rule/"
    yield "form of a rule", f"{base}/rule/add/"
    yield "preview of a rule", f"{base}/rule/{rule.pk}/look/"
    yield "experiments", f"{base}/experiment/"
    yield "experiment", f"{base}/experiment/{Experiment.objects.get().pk}/change/"
    yield "labelling", f"{base}/judgement/queue/"
    yield "runs", f"{base}/run/"
    yield "run", f"{base}/run/{run.pk}/change/"
    yield "promote", f"{base}/bundle/{bundle.pk}/promote/"
    yield "segments", f"{base}/segment/"
    merged = Segment.objects.get(is_merged=True)
    yield "merged segment", f"{base}/segment/{merged.pk}/change/"
    yield "divide", f"{base}/segment/{merged.pk}/divide/"
    single = Segment.objects.in_use().filter(is_merged=False)
    yield "merge", f"{base}/segment/merge/?" + "&".join(f"segment={segment.pk}" for segment in single)
    webhook = Webhook.objects.get()
    yield "webhooks", f"{base}/webhook/"
    yield "form of a webhook", f"{base}/webhook/add/"
    yield "webhook", f"{base}/webhook/{webhook.pk}/change/"
    yield "send a webhook", f"{base}/webhook/{webhook.pk}/send/"
    yield "personas", f"{base}/persona/"
    yield "persona", f"{base}/persona/{persona.pk}/change/"
    yield "what people did", f"{base}/approval/actions/"
    yield "health", f"{base}/health/"
    yield "exposure", f"{base}/exposure/"
    for name in ("win-back", "due", "prices"):
        yield f"reasons to write: {name}", f"{base}/outreach/?list={name}"
    yield "profit dials", f"{base}/profitdial/"
    yield "profit and relevance", f"{base}/profitdial/frontier/"
    yield "form of a profit dial", f"{base}/profitdial/add/"
    for dial in ProfitDial.objects.order_by("pk"):
        yield f"profit dial, {dial.state}", f"{base}/profitdial/{dial.pk}/change/"
    yield "workbench", f"{base}/workbench/?slot=home"


SHOP_PAGES = (("home", "/"), ("search", "/search/?q=bag"), ("privacy", "/privacy/"))


def violations(browser: Browser) -> list[tuple[str, ...]]:
    browser.driver.execute_script(AXE.read_text())
    return [tuple(one) for one in browser.driver.execute_async_script(RUN, TAGS)]


def every_look(browser: Browser, name: str, path: str) -> list[str]:
    """What axe finds on a page, once for each violation, in the first look that has it."""
    lines: dict[tuple[str, str], str] = {}
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        browser.visit(path)
        for width in (1280, 390):
            browser.resize(width)
            for rule, target, html, summary in violations(browser):
                lines.setdefault((rule, target), f"{name}, {scheme}, {width}: {rule} at {target}: {html} {summary}")
    return list(lines.values())


def test_axe_finds_nothing_on_pages_of_the_shop(browser: Browser) -> None:
    serving.reload()
    lines = [line for name, path in SHOP_PAGES for line in every_look(browser, name, path)]
    assert not lines, "\n".join(lines)


def test_axe_finds_nothing_on_pages_of_the_admin(browser: Browser, client: Any) -> None:
    plant()
    client.force_login(User.objects.create_superuser("ada"))
    browser.visit("/privacy/")
    browser.driver.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})
    lines = [line for name, path in admin_pages() for line in every_look(browser, name, path)]
    assert not lines, "\n".join(lines)


def test_axe_sees_what_is_wrong(browser: Browser) -> None:
    browser.visit("/")
    browser.driver.execute_script('document.body.insertAdjacentHTML("beforeend", "<img src=x><input>")')
    assert {rule for rule, *_ in violations(browser)} >= {"image-alt", "label"}
