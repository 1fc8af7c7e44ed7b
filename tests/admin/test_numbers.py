"""Numbers, money, dates and charts of the admin are written as the language of the page does."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.test import Client
from django.utils import timezone, translation

from recommender.admin.charts import Series, line_chart
from recommender.admin.figures import decimal, duration, percent
from recommender.admin.numbers import interval, local
from recommender.admin.rule_words import measured_rows, people_of, window_of
from recommender.models import Rule
from tests.admin.test_overview import morning
from tests.demo.test_rules_in_browser import COST

__all__ = ["morning"]


@pytest.mark.parametrize(
    ("language", "number", "share", "bounds"),
    [("en-gb", "1,234.5", "-12.3%", "[1.5, 2.5]"), ("de", "1.234,5", "-12,3%", "[1,5; 2,5]"),
     ("zh-hans", "1234.5", "-12.3%", "[1.5, 2.5]")],
)  # fmt: skip
def test_separators_are_those_of_the_language(language: str, number: str, share: str, bounds: str) -> None:
    with translation.override(language):
        assert (local(1234.5, ",.1f"), local(-0.1234, ".1%"), interval(1.5, 2.5, ".1f")) == (number, share, bounds)


@pytest.mark.parametrize(
    ("language", "texts"),
    [("de", ("0,1234", "56,7%", "0,2 s", "2 Min. 5 s")), ("zh-hans", ("0.1234", "56.7%", "0.2 秒", "2 分 5 秒"))],
)
def test_figures_of_runs_are_localised(language: str, texts: tuple[str, ...]) -> None:
    with translation.override(language):
        assert (decimal(0.12341), percent(0.567), duration(0.24), duration(125)) == texts


@pytest.mark.parametrize(
    ("language", "mark", "said"), [("de", "0,5", "von 0,25 bis 1,5"), ("zh-hans", "0.5", "从 0.25 到 1.5")]
)
def test_axes_and_description_of_a_chart_are_localised(language: str, mark: str, said: str) -> None:
    with translation.override(language):
        chart = line_chart([Series("a", [(1, 0.25), (2, 1.5)])], title="t", x_label="x", y_label="y")
    assert mark in re.findall(r'class="rec-tick"[^>]*>([^<]*)<', chart)
    assert said in chart
    assert re.search(r'd="M[\d. L]+"', chart), "coordinates keep their points"


@pytest.mark.django_db
@pytest.mark.parametrize(("language", "share"), [("de", "50,0 % [9,5; 90,5] %"), ("zh-hans", "50.0 % [9.5, 90.5] %")])
def test_overview_is_localised(
    admin_client: Client, settings: object, morning: dt.datetime, language: str, share: str
) -> None:
    response = admin_client.get("/admin/recommender/overview/", headers={"accept-language": language})
    text = re.sub(r"\s+", " ", response.content.decode())
    assert share in text
    assert response.headers["Content-Language"] == language


def test_measured_rows_a_rule_are_localised() -> None:
    rule = Rule(action="pin", cost=COST, cost_at=timezone.now())
    with translation.override("de"):
        assert "18.900 Personen mit der Regel" in people_of(rule)
        assert "31,00 %" in str(measured_rows(rule))


@pytest.mark.parametrize(
    ("language", "window"),
    [("en-gb", "from 9 Mar 2026, 08:30"), ("de", "ab 9. Mär"), ("zh-hans", "从 2026年3月9日 08:30 起")],
)
def test_times_of_a_rule_are_localised(language: str, window: str) -> None:
    with translation.override(language):
        assert window_of(Rule(starts_at=dt.datetime(2026, 3, 9, 8, 30, tzinfo=dt.UTC))).startswith(window)
