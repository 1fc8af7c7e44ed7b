"""What identifies a person is hidden in a stored query, and every number of an article stays."""

from __future__ import annotations

import uuid

import pytest
from django.utils import timezone

from recommender import capture
from recommender.capture import EventDraft, ImpressionDraft
from recommender.models import Event, Impression
from recommender.text.masking import MASK, masked
from recommender.types import Entry, Ranking, Rung, Slot


@pytest.mark.parametrize(
    ("query", "stored"),
    [
        ("ada@example.com", MASK),
        ("order of ada.lovelace+shop@mail.example.co.uk please", f"order of {MASK} please"),
        ("4111 1111 1111 1111", MASK),
        ("card 5500-0000-0000-0004 declined", f"card {MASK} declined"),
        ("378282246310005", MASK),
        ("6011000990139424", MASK),
        ("+44 20 7946 0958", MASK),
        ("call +49 (0)30 901820 now", f"call {MASK} now"),
        ("0049 30 901 820", MASK),
        ("020 7946 0958", MASK),
        ("(020) 7946-0958", MASK),
        ("030/901 82 01", MASK),
        ("(555) 123-4567", MASK),
        ("555-123-4567", MASK),
        ("tel 9018201", f"tel {MASK}"),
        ("Phone: 0301234567", f"Phone: {MASK}"),
        ("+4915112345678", MASK),
    ],
)
def test_personal_number_or_address_is_hidden(query: str, stored: str) -> None:
    assert masked(query) == stored


@pytest.mark.parametrize(
    "query",
    [
        "red mug", "mug @ home", "@home speaker", "85123a", "sku 22423", "iphone 15 256 gb", "9783161484100",
        "978-3-16-148410-0", "0-306-40615-2", "4006381333931", "4 006381 333931", "00012345678905", "96385074",
        "4111111111111112", "1234567890123456", "wh-1000xm5", "rtx 4090 24gb", "50x70cm", "100 - 200 eur",
        "0123456789", "5449000000996", "1970-1980", "under 100 000", "2024 2025 2026", "phone case 128 gb",
        "12 v 100 ah 1200 w", "lego 75192", "3m 7100 234 567", "555-1234", "din 912 m6 x 20 100 pcs",
    ],
)  # fmt: skip
def test_number_of_an_article_stays(query: str) -> None:
    assert masked(query) == query


@pytest.mark.django_db
def test_stored_event_and_list_have_the_mask_and_the_search_what_was_typed() -> None:
    ranking = Ranking(uuid.uuid4(), Slot.SEARCH, (Entry("mug", 1, 1.0),), Rung.LEXICAL, query="mug ada@example.com")
    search = EventDraft("m", "search", timezone.now(), query="mug ada@example.com", visitor_key=(key := uuid.uuid4()))
    capture.ingest([search], [ImpressionDraft(ranking, timezone.now(), visitor_key=key)])
    assert (Event.objects.get().query, Impression.objects.get().query) == (f"mug {MASK}", f"mug {MASK}")
    assert ranking.query == "mug ada@example.com"
