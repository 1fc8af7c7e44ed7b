"""The demo project around `recommender`."""

import os
from importlib.util import find_spec

# One thread for small matrix products: on a busy machine, threads that wait for each other make them ten times slower.
# It must stand before the first import of numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if find_spec("celery") is not None:  # without it `recommender_worker` does all the work
    from shopreco.celery import app as celery_app

    __all__ = ["celery_app"]
