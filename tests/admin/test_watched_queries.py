"""Watched queries in the admin: saved from the workbench, masked, limited, shown with what each run made of them."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from recommender import pipeline
from recommender.admin import watched_queries
from recommender.models import Segment, WatchedQuery, WatchedResult
from tests.admin.test_admin import make_run
from tests.admin.test_rules import person
from tests.conftest import DemoShop

pytestmark = pytest.mark.django_db

WORKBENCH, LIST = "/admin/recommender/workbench/", "/admin/recommender/watchedquery/"
WATCH = f"{WORKBENCH}watch/"


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return re.sub(r"\s+", " ", html.unescape(response.content.decode()))


@pytest.fixture
def watcher(demo_shop: DemoShop) -> Client:
    return person("watcher", "view_workbench", "add_watchedquery", "view_watchedquery", "delete_watchedquery")


def test_query_is_saved_after_a_question_with_what_is_served_now(watcher: Client) -> None:
    page = text_of(watcher.get(WORKBENCH, {"slot": "search", "query": "red bag"}))
    (address,) = re.findall(r'href="([^"]*/watch/[^"]*)"', page)
    question = text_of(watcher.get(address))
    assert "Watch “red bag”?" in question
    assert not WatchedQuery.objects.exists(), "a GET only asks"
    page = text_of(watcher.post(address, {"note": "before spring"}, follow=True))
    assert "“red bag” is watched: every run judges it." in page
    row = WatchedQuery.objects.get()
    assert (row.query, row.note, row.created_by.username) == ("red bag", "before spring", "watcher")
    assert row.item_ids == [entry.item_id for entry in pipeline.search("red bag", limit=10)]
    page = text_of(watcher.get(WORKBENCH, {"slot": "search", "query": "red bag"}))
    assert "/watch/" not in page, "it is watched already"
    assert "red bag" in text_of(watcher.get(WORKBENCH))


def test_step_needs_its_permission_and_a_list_without_query_has_none(demo_shop: DemoShop, watcher: Client) -> None:
    looker = person("looker", "view_workbench")
    assert looker.get(WATCH, {"query": "bag"}).status_code == 403
    assert looker.post(f"{WATCH}?query=bag").status_code == 403
    assert "/watch/" not in text_of(looker.get(WORKBENCH, {"slot": "search", "query": "bag"}))
    assert "/watch/" not in text_of(watcher.get(WORKBENCH, {"slot": "trending"}))
    assert looker.get(LIST).status_code == 403
    assert not WatchedQuery.objects.exists()


def test_mail_address_and_phone_number_are_masked(watcher: Client) -> None:
    watcher.post(f"{WATCH}?query=bag+for+ann%40example.com+%2B44+20+7946+0958")
    assert WatchedQuery.objects.get().query == "bag for ••• •••"


def test_what_cannot_be_watched_is_refused_with_the_repair(watcher: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the query is empty. Type one" in text_of(watcher.post(f"{WATCH}?query=+", follow=True))
    watcher.post(f"{WATCH}?query=bag")
    assert "“bag” is watched already" in text_of(watcher.post(f"{WATCH}?query=bag", follow=True))
    segment = Segment.objects.create(number=1, n_people=3, own_name="Bakers")
    watcher.post(f"{WATCH}?query=bag&segment={segment.pk}")
    assert WatchedQuery.objects.count() == 2, "by a segment it is another list"
    monkeypatch.setattr(watched_queries, "MOST_WATCHED", 2)
    text = text_of(watcher.post(f"{WATCH}?query=lamp", follow=True))
    assert "2 queries are watched already, which is the most. Delete one" in text
    assert WatchedQuery.objects.count() == 2


def test_account_that_is_deleted_leaves_the_query_without_a_name(watcher: Client) -> None:
    watcher.post(f"{WATCH}?query=bag")
    User.objects.get(username="watcher").delete()
    assert WatchedQuery.objects.get().created_by is None


class TestShown:
    @pytest.fixture
    def judged(self, watcher: Client) -> WatchedResult:
        watcher.post(f"{WATCH}?query=bag")
        watcher.post(f"{WATCH}?query=lamp")
        bag, lamp = WatchedQuery.objects.order_by("query")
        older, newer = make_run(), make_run()
        for run, ndcg in ((older, 0.9), (newer, 0.5)):
            WatchedResult.objects.create(
                watched=bag, run=run, overlap=0.3, overlap_saved=0.4, n_graded=3, ndcg=ndcg, ndcg_serving=0.75
            )
        return WatchedResult.objects.create(watched=lamp, run=newer, overlap=0.9, overlap_saved=1.0)

    def test_run_has_its_own_results_the_most_changed_first(self, watcher: Client, judged: WatchedResult) -> None:
        seer = person("seer", "view_run", "view_watchedquery")
        page = text_of(seer.get(f"/admin/recommender/run/{judged.run_id}/change/"))
        section = page.partition("Watched queries")[2]
        assert "on average 60% of the first ten items" in section
        assert section.index("bag") < section.index("lamp")
        assert "▼</span> worse (−0.250)" in section
        assert "90%" in section
        other = person("other", "view_run")
        assert "Watched queries" not in text_of(other.get(f"/admin/recommender/run/{judged.run_id}/change/"))

    def test_workbench_and_list_show_the_newest_result(self, watcher: Client, judged: WatchedResult) -> None:
        for address in (WORKBENCH, LIST):
            page = text_of(watcher.get(address))
            assert "worse (−0.250)" in page
            assert "better" not in page.partition("result_list")[2]
            assert "30%" in page

    def test_one_query_has_the_results_of_every_run_and_can_be_deleted(
        self, watcher: Client, judged: WatchedResult
    ) -> None:
        bag = WatchedQuery.objects.get(query="bag")
        page = text_of(watcher.get(f"{LIST}{bag.pk}/change/"))
        assert "worse (−0.250)" in page
        assert "better (+0.150)" in page
        assert b"&lt;li&gt;" not in watcher.get(f"{LIST}{bag.pk}/change/").content, "markup is not shown as text"
        watcher.post(f"{LIST}{bag.pk}/delete/", {"post": "yes"})
        assert WatchedQuery.objects.get().query == "lamp"
        assert WatchedResult.objects.count() == 1
