"""Everything that one training run reads from SQL, read once."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from django.utils import timezone

from recommender.datasets.cleaning import Recorded
from recommender.datasets.impressions import read_impressions
from recommender.datasets.reading import read_interactions, read_items, read_judgements, read_names, read_people
from recommender.features.shop_state import existing_since, first_events
from recommender.tables import Impressions, ItemTable, Judgements


@dataclass(frozen=True, slots=True)
class Dataset:
    """The data of one run: `titles` and `brands` are parallel to `items`; `taken_at` is in seconds since the epoch."""

    items: ItemTable
    titles: tuple[str, ...]
    recorded: Recorded
    taken_at: float
    judgements: Judgements = field(default_factory=Judgements.none)
    impressions: Impressions = field(default_factory=Impressions.none)
    brands: tuple[str, ...] = ()


def read_dataset(*, as_of: float | None = None) -> Dataset:
    """Read all data as they are now, or without what came in after `as_of` (seconds since the epoch).

    What was erased or changed since `as_of` is not restored.
    """
    until = None if as_of is None else dt.datetime.fromtimestamp(as_of, dt.UTC)
    now, items, people = timezone.now().timestamp(), read_items(until=until), read_people()
    titles, brands = read_names(items)
    recorded = read_interactions(items, until=until, received_until=until, people=people)
    by_people = recorded.take(~recorded.is_bot).interactions
    items = existing_since(items, first_events(by_people, n_items=len(items)))
    judgements = read_judgements(items, until=until)
    impressions = read_impressions(items, people=people, until=until)
    return Dataset(items, titles, recorded, now if as_of is None else as_of, judgements, impressions, brands)
