"""What every test of capture starts with."""

from __future__ import annotations

import pytest

from recommender.capture import visitors


@pytest.fixture(autouse=True)
def _forget_visitors() -> None:
    visitors.forget_visitors()
