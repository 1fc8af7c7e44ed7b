"""The demo as a web server sees it, on a host where reading the catalogue takes `SLOW_SECONDS`."""

import os
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from recommender.serving import records  # noqa: E402 - the models need the applications

SLOW_SECONDS = float(os.environ["SLOW_SECONDS"])
_at_full_speed = records.Table.all


def _slowly(table: records.Table[Any]) -> Iterator[Any]:
    if table.record is records.ItemRecord:
        time.sleep(SLOW_SECONDS)
    return _at_full_speed(table)


records.Table.all = _slowly  # type: ignore[assignment, method-assign]
