"""Past queries and synonyms: from events to tables, to the admin, to the search of every process."""

from __future__ import annotations

import datetime as dt
import uuid
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from recommender import pipeline, serving, tasks
from recommender.catalog import sync
from recommender.datasets import queries
from recommender.models import Event, QueryStatistics, Synonym, Visitor
from recommender.serving.loading import load_shelf, refresh_shelf
from recommender.types import EventType
from shopreco.shop.models import Product
from tests.conftest import assert_queries

pytestmark = pytest.mark.django_db

TITLES = {
    "S1": "Corner sofa", "S2": "Leather sofa", "S3": "Sofa bed", "M1": "Red mug", "M2": "Blue mug", "L1": "Desk lamp",
    "L2": "Floor lamp", "L3": "Wall lamp",
}  # fmt: skip
NOW = timezone.now()


@pytest.fixture(autouse=True)
def shop(settings):
    settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 0, "FEWEST_PEOPLE": 3, "FEWEST_EVENTS": 3}
    for code, title in TITLES.items():
        Product.objects.create(stock_code=code, title=title, price=5, stock=5, is_visible=True)
    sync.sync()


def search(query, *item_ids, n_visitors=3):
    """Let some new visitors search and then look at items."""
    for _ in range(n_visitors):
        visitor = Visitor.objects.create(key=uuid.uuid4())
        at = NOW - dt.timedelta(hours=1)
        rows = [("search", "", query), *(("view_item", item_id, "") for item_id in item_ids)]
        for second, (kind, item_id, text) in enumerate(rows):
            Event.objects.create(
                message_id=str(uuid.uuid4()), visitor=visitor, type=EventType(kind), item_id=item_id, query=text,
                occurred_at=at + dt.timedelta(seconds=second),
            )  # fmt: skip


def ids(ranking):
    return [entry.item_id for entry in ranking]


def sofas():
    """Couch and sofa lead to the same items; other searches lead elsewhere."""
    search("sofa", "S1", "S2", n_visitors=6)
    search("couch", "S1", "S2", n_visitors=6)
    search("mug", "M1", "M2", n_visitors=6)
    search("lamp", "L1", "L2", "L3", n_visitors=6)


def test_query_of_several_visitors_is_a_row_and_one_of_two_is_not():
    search("red mug", "M1")
    search("present for anna", "M2", n_visitors=2)
    queries.learn_queries()
    [row] = QueryStatistics.objects.all()
    assert (row.query, row.n_visitors, row.items) == ("red mug", 3, [["M1", 3]])


def test_query_whose_visitors_are_erased_is_forgotten():
    search("red mug", "M1")
    queries.learn_queries()
    Visitor.objects.first().delete()
    queries.learn_queries()
    assert not QueryStatistics.objects.exists()


def test_visitors_without_consent_or_profile_and_bots_are_not_counted():
    search("red mug", "M1")
    first, second, third = Visitor.objects.order_by("pk")
    for visitor, name, value in (
        (first, "has_consented", False),
        (second, "is_profiled", False),
        (third, "is_bot", True),
    ):
        setattr(visitor, name, value)
        visitor.save()
    queries.learn_queries()
    assert not QueryStatistics.objects.exists()


def test_past_queries_are_suggested_and_a_query_of_one_person_never():
    search("blue mug for tea", "M2", n_visitors=2)
    search("mug blue", "M2")
    queries.learn_queries()
    texts = [suggestion.text for suggestion in pipeline.suggest("mug")]
    assert "mug blue" in texts
    assert not [text for text in texts if "tea" in text]


def test_suggestion_of_a_past_query_forgives_a_typing_error():
    search("lamp wall", "L3")
    queries.learn_queries()
    assert "lamp wall" in [suggestion.text for suggestion in pipeline.suggest("lampp wa")]


def test_past_query_that_finds_nothing_any_more_is_not_suggested():
    search("mug yellow", "M1")
    queries.learn_queries()
    assert "mug yellow" not in [suggestion.text for suggestion in pipeline.suggest("mug y")]


def test_synonym_is_proposed_and_used_only_when_approved(admin_client: Client):
    sofas()
    assert queries.learn_queries().n_proposed == 1
    [synonym] = Synonym.objects.all()
    assert (str(synonym), synonym.is_active, synonym.n_evidence) == ("couch ↔ sofa", False, 12)
    assert ids(pipeline.search("couch")) != ["S1", "S2", "S3"]
    chosen = {"action": "approve", "_selected_action": [synonym.pk]}
    page = admin_client.post("/admin/recommender/synonym/", chosen, follow=True).content.decode()
    assert "in use within seconds" in page
    ranking = pipeline.search("couch")
    assert set(ids(ranking)) == {"S1", "S2", "S3"}
    assert (ranking.relaxed, ranking.corrected_query) == ("", "")


def test_rejected_synonym_is_not_proposed_again(admin_client: Client):
    sofas()
    queries.learn_queries()
    chosen = {"action": "reject", "_selected_action": [Synonym.objects.get().pk]}
    admin_client.post("/admin/recommender/synonym/", chosen)
    assert queries.learn_queries().n_proposed == 0
    [synonym] = Synonym.objects.all()
    assert not synonym.is_active
    assert synonym.reviewed_at is not None


def test_proposal_without_evidence_any_more_goes_and_a_decision_stays():
    sofas()
    queries.learn_queries()
    Synonym.objects.create(words="settee", meaning="sofa")
    Event.objects.all().delete()
    queries.learn_queries()
    assert [synonym.words for synonym in Synonym.objects.all()] == ["settee"]


def test_synonym_is_written_in_the_admin_and_found_at_once(admin_client: Client):
    form = {"words": "Drinking  Vessel", "meaning": "mug", "kind": "one_way", "is_active": "on"}
    assert admin_client.post("/admin/recommender/synonym/add/", form).status_code == 302
    assert Synonym.objects.get().words == "drinking vessel"
    assert set(ids(pipeline.search("drinking vessel"))) == {"M1", "M2"}


def test_word_is_no_synonym_of_itself(admin_client: Client):
    form = {"words": "Mug", "meaning": "mug", "kind": "one_way", "is_active": "on"}
    answer = admin_client.post("/admin/recommender/synonym/add/", form)
    assert "These are the same words" in answer.content.decode()
    assert not Synonym.objects.exists()


def test_one_way_synonym_works_one_way():
    Synonym.objects.create(words="lamp", meaning="mug", kind=Synonym.Kind.ONE_WAY)
    assert ids(pipeline.search("lamp"))[:3] == ["L1", "L2", "L3"]
    assert set(ids(pipeline.search("lamp"))) == {"L1", "L2", "L3", "M1", "M2"}
    assert set(ids(pipeline.search("mug"))) == {"M1", "M2"}


def test_deleted_synonym_is_forgotten():
    synonym = Synonym.objects.create(words="cup", meaning="mug")
    assert set(ids(pipeline.search("cup"))) == {"M1", "M2"}
    synonym.delete()
    assert pipeline.search("cup").relaxed == "popular"


def test_word_of_a_query_that_led_to_items_is_not_corrected():
    assert pipeline.search("lampe").corrected_query == "lamp"
    search("lampe", "L1")
    queries.learn_queries()
    assert pipeline.search("lampe").corrected_query == ""


def test_search_asks_nothing_of_the_new_tables(settings):
    Synonym.objects.create(words="cup", meaning="mug")
    serving.reload()
    settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 3600}
    with assert_queries(1, at_least=1):  # live prices
        pipeline.search("cup")


def test_look_without_news_is_the_same_shelf():
    Synonym.objects.create(words="cup", meaning="mug")
    shelf = load_shelf(None)
    assert refresh_shelf(shelf) is shelf


def test_task_learns_only_after_a_search(django_assert_num_queries):
    tasks.learn_queries()
    assert not QueryStatistics.objects.exists()
    search("red mug", "M1")
    tasks.learn_queries()
    assert QueryStatistics.objects.get().query == "red mug"


def test_command_says_what_it_learned():
    sofas()
    out = StringIO()
    call_command("recommender_queries", stdout=out)
    assert out.getvalue().strip() == "4 queries by several visitors; 1 synonyms, 1 newly proposed"


def test_queries_are_shown_in_the_admin_to_read_only(admin_client: Client):
    search("red mug", "M1")
    queries.learn_queries()
    pk = QueryStatistics.objects.get().pk
    assert "Red mug" in admin_client.get(f"/admin/recommender/querystatistics/{pk}/change/").content.decode()
    assert admin_client.get("/admin/recommender/querystatistics/add/").status_code == 403


def test_by_default_a_query_needs_five_people_and_ten_searches(settings):
    del settings.RECOMMENDER["FEWEST_PEOPLE"], settings.RECOMMENDER["FEWEST_EVENTS"]
    search("of nine", n_visitors=9)
    search("of ten", n_visitors=10)
    queries.learn_queries()
    assert list(QueryStatistics.objects.values_list("query", flat=True)) == ["of ten"]
