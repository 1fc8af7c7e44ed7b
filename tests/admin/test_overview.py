"""The overview: figures with their intervals from sums alone, a dash where there is nothing to divide by."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.formats import date_format

from recommender import overview
from recommender.admin.overview import _compared
from recommender.experiments.intervals import rate
from recommender.models import AnswerTimes, Bundle, Event, EventCount, Experiment, HourlyRevenue, Impression
from recommender.overview import reading
from tests.admin.test_experiments import clerk
from tests.overview.shop import NOON, bought, from_list, happened, shown, visitor

pytestmark = pytest.mark.django_db

URL = "/admin/recommender/overview/"
MOST_QUERIES = 20


def page(client: Client, query: str = "") -> str:
    response = client.get(URL + query)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


@pytest.fixture
def morning() -> dt.datetime:
    """Four lists of an hour ago in two arms: one clicked, one of them bought from in two currencies; ten searches."""
    at = timezone.now() - dt.timedelta(hours=1)
    people = [visitor() for _person in range(10)]
    lists = [shown(people[0], "x", at=at), shown(people[1], "x", at=at), shown(people[2], "x", at=at, bundle="b2")]
    shown(people[3], "x", at=at, slot="similar", rung="popularity")
    after = dt.timedelta(minutes=5)
    from_list(lists[0], "select_item", "x", after=after)
    bought(lists[0], "x", "12.00", after=after)
    bought(lists[2], "x", "900", currency="JPY", after=after)
    for person in people:
        happened(person, "search", query="mugg", after=dt.timedelta(0), since=at)
        shown(person, at=at, slot="search", query="mugg", n_found=0)
    overview.roll_up(at=timezone.now())
    overview.roll_up_queries(at=timezone.now())
    return at


def test_shares_have_wilsons_interval_and_each_arm_its_row(admin_client: Client, morning: dt.datetime) -> None:
    text = page(admin_client)
    period = reading.period(7, at=timezone.now())
    home = period.by_list["home", "b1"]
    assert (home.counts["n_lists"], home.counts["n_clicked"], home.counts["n_ordered"]) == (2, 1, 1)
    assert home.clicked == rate(1, 2)
    assert "50.0 % [9.5, 90.5] %" in text
    assert ("home", "b2") in period.by_list


def test_currencies_are_never_added(admin_client: Client, morning: dt.datetime) -> None:
    text = page(admin_client)
    assert "Revenue per 1,000 lists, EUR" in text
    assert "Revenue per 1,000 lists, JPY" in text
    assert {money.currency for money in reading.period(7, at=timezone.now()).total.money} == {"EUR", "JPY"}


def test_revenue_per_thousand_counts_lists_without_revenue(morning: dt.datetime) -> None:
    (money,) = reading.period(7, at=timezone.now()).by_list["home", "b1"].money
    assert money.per_thousand is not None
    assert money.per_thousand.value == pytest.approx(1_000 * 12 / 2)


def test_query_of_many_people_without_result_leads_to_its_repair(admin_client: Client, morning: dt.datetime) -> None:
    text = page(admin_client)
    assert "Most often without a result" in text
    assert "/admin/recommender/synonym/add/?words=mugg" in text
    assert "/admin/recommender/rule/add/?match=exact&amp;query=mugg" in text


def test_query_of_few_people_is_folded(admin_client: Client) -> None:
    at = timezone.now() - dt.timedelta(minutes=5)
    happened(visitor(), "search", query="my own name", after=dt.timedelta(0), since=at)
    overview.roll_up_queries(at=timezone.now())
    text = page(admin_client)
    assert "my own name" not in text
    assert "1 query of few people" in text


def test_empty_shop_has_dashes_and_says_what_to_do(admin_client: Client) -> None:
    text = page(admin_client)
    assert "Nothing has been summed up yet" in text
    assert "No list was shown" in text
    assert '<p class="rec-big">–' in text


def test_time_before_is_compared() -> None:
    for ago, n_clicked in ((dt.timedelta(0), 200), (dt.timedelta(hours=16), 20)):
        for number in range(220):
            one = shown(visitor(), "x", at=NOON - ago)
            if number < n_clicked:
                from_list(one, "select_item", "x", after=dt.timedelta(minutes=1))
    at = NOON + dt.timedelta(hours=1)
    overview.roll_up(at=at, everything=True)
    assert reading.total_before(1, at=at) is None, "the day before is not recorded whole"
    shown(visitor(), "x", at=NOON - dt.timedelta(days=2))
    overview.roll_up(at=at, everything=True)
    period, before = reading.period(1, at=at), reading.total_before(1, at=at)
    assert before is not None
    assert (period.total.counts["n_clicked"], before.counts["n_clicked"]) == (200, 20)
    assert _compared(period.total.clicked, before.clicked) == ("better", "▲", "surely more than before")
    assert _compared(before.clicked, period.total.clicked)[0] == "worse"
    assert _compared(period.total.clicked, None)[2] == "nothing to compare with"


def test_lists_of_an_experiment_stand_by_its_arms(admin_client: Client) -> None:
    experiment, at = Experiment.objects.create(name="calmer lists"), timezone.now()
    for arms in (f"{experiment.pk}a", f"{experiment.pk}b", f"{experiment.pk}b", ""):
        Impression.objects.filter(pk=shown(visitor(), "x", at=at).pk).update(arms=arms)
    overview.roll_up(at=at)
    by_list = {arm: figures.counts["n_lists"] for (_slot, arm), figures in reading.period(1, at=at).by_list.items()}
    assert by_list == {f"{experiment.pk}a": 1, f"{experiment.pk}b": 2, "b1": 1}
    text = page(admin_client)
    assert "calmer lists: variant" in text
    assert "calmer lists: as before" in text


def test_share_of_events_with_consent_is_that_of_shoppers(admin_client: Client) -> None:
    today = timezone.now().astimezone(dt.UTC).date()
    EventCount.objects.create(day=today, source="page", accepted=5, duplicate=1, rejected=1, dropped=3)
    EventCount.objects.create(day=today, source="order", accepted=90)
    EventCount.objects.create(day=today - dt.timedelta(days=300), source="page", dropped=90)
    assert "<dt>Events with consent</dt><dd>70%</dd>" in page(admin_client)


def test_days_stand_below_their_chart(admin_client: Client) -> None:
    at = timezone.now()
    for ago in range(6):
        one = shown(visitor(), "x", at=at - dt.timedelta(days=ago, minutes=1))
        bought(one, "x", "12.00", after=dt.timedelta(0))
    overview.roll_up(at=at, everything=True)
    text = page(admin_client)
    assert text.count('<svg class="rec-chart rec-lines"') == 2, "clicks and revenue"
    assert text.count(date_format(at - dt.timedelta(days=2), "j M") + "</text>") == 2
    assert "12.00 EUR" in text


def test_times_of_answers_give_the_95th_percentile(admin_client: Client) -> None:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    for within_ms, n in ((10, 90), (100, 10)):
        AnswerTimes.objects.create(hour=hour, slot="home", rung="champion", within_ms=within_ms, n=n)
    assert reading.period(1, at=timezone.now()).p95_ms == pytest.approx(55)
    assert "55 ms" in page(admin_client, "?days=1")


def test_page_costs_few_queries_whatever_happened(admin_client: Client, morning: dt.datetime) -> None:
    page(admin_client)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        page(admin_client, "?days=28")
    assert len(captured) <= MOST_QUERIES
    tables = {Event._meta.db_table, Impression._meta.db_table}
    assert not [query for query in captured if any(f'"{table}"' in query["sql"] for table in tables)]


def test_unknown_period_shows_seven_days(admin_client: Client) -> None:
    assert 'href="?days=7" aria-current="page"' in page(admin_client, "?days=365000")


def test_overview_needs_its_permission(admin_client: Client) -> None:
    viewer = clerk("view_run", "view_event")
    assert viewer.get(URL).status_code == 403
    assert "what the lists led to" in admin_client.get("/admin/recommender/").content.decode()
    assert "what the lists led to" not in viewer.get("/admin/recommender/").content.decode()


def test_model_and_money_of_the_sums_are_told(admin_client: Client, morning: dt.datetime) -> None:
    Bundle.objects.create(name="b1", encoder_hash="h", state=Bundle.State.CHAMPION, is_trained=True)
    HourlyRevenue.objects.update(margin=3)
    text = page(admin_client)
    assert "Model trained" in text
    assert "1,500.00 EUR" in text


@pytest.mark.parametrize(("days", "words"), [(1.0, "credited within 1 day<"), (30, "credited within 30 days<")])
@pytest.mark.parametrize("language", ["en", "de"])
def test_days_of_the_credit_are_counted_in_words(
    admin_client: Client, settings: Any, days: float, words: str, language: str
) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ATTRIBUTION_DAYS": days}
    text = admin_client.get(URL, headers={"accept-language": language}).content.decode()
    german = "zugerechnet innerhalb von 1 Tag<" if days == 1 else "zugerechnet innerhalb von 30 Tagen<"
    assert (words if language == "en" else german) in text
