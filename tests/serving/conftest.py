"""The packaged encoder as it ships, and both ways in which a shop can be served: by words alone and with vectors."""

from __future__ import annotations

import pytest

from recommender.ml.export import export_untrained
from recommender.serving.ranker import Ranker


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    export_untrained("", folder)
    return Ranker.load(folder)


@pytest.fixture(params=["words alone", "with vectors"])
def ranker(request, untrained):
    return None if request.param == "words alone" else untrained
