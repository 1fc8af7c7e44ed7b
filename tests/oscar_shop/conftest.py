"""Fixtures of the shop's own tests: its stock, synced, and Oscar's warnings."""

import pytest

OSCAR_WARNINGS = (
    # Oscar 4.2 calls treebeard 7 as it called treebeard 4; until Oscar's floor is treebeard 7.
    "ignore:Using Category:DeprecationWarning",
    "ignore:Using Category:PendingDeprecationWarning",
    # Haystack's engine without an index says at every save that it has none.
    "ignore:update is not implemented in this backend:UserWarning",
    "ignore:remove is not implemented in this backend:UserWarning",
)


def pytest_configure(config):
    for line in OSCAR_WARNINGS:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    """Nothing that one test cached or loaded serves the next; lists load in the thread that reads the test's rows."""
    from django.core.cache import cache

    from recommender import serving
    from recommender.capture import visitors
    from recommender.serving import memory

    cache.clear()
    visitors.forget_visitors()
    monkeypatch.setattr(memory, "_memory", type(memory._memory)())
    monkeypatch.setattr(memory, "_start", lambda work: work())
    monkeypatch.setattr(serving, "warm_up", lambda: None)


@pytest.fixture
def shop(db):
    """The stock as items, in words: no encoder is needed for what these tests ask."""
    from myshop.stock import fill

    from recommender.catalog import sync
    from recommender.datasets import statistics

    fill()
    sync.sync()
    statistics.refresh_statistics()


@pytest.fixture
def product():
    """Find a product by title."""
    from oscar.core.loading import get_model

    return lambda title: get_model("catalogue", "Product").objects.get(title=title)


@pytest.fixture
def live_shop(transactional_db):
    """The stock, and transactions that commit: what waits for a commit happens as in a shop."""
    from myshop.stock import fill

    from recommender.catalog import sync
    from recommender.datasets import statistics

    fill()
    sync.sync()
    statistics.refresh_statistics()
