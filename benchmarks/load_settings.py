"""Settings of `benchmarks.load`: the demo in production with the packaged encoder, and a page that does nothing."""

from benchmarks.faults.settings import *  # noqa: F403
from benchmarks.faults.settings import RECOMMENDER as _OF_FAULTS

ROOT_URLCONF = "benchmarks.load_urls"
RECOMMENDER = {**_OF_FAULTS, "ENCODER": "auto", "REFRESH_SECONDS": 5.0}
