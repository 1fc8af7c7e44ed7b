"""How often a product page of the demo passes from one part of the app to another: the count beside its limit.

A room is the first package or module under `recommender`, such as `serving` or `pipeline`; a Python function belongs to
the room of the file that it is written in. Each call and each return (of generators too: resume and yield) makes a
function run; where it is of another room than the function of the app that ran before it, that is one change. So a call
into another room and back counts two. Functions outside the app (Django, the demo, methods that `dataclasses` writes)
belong to no room and change none. Counted are the response and its closers, where capture stores the page, in a warm
process, for the customer with the most orders, with both lists shown.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.figures import Figure, show

CHANGES_LIMIT = 150
N_PAIRS = 12
N_CUSTOMERS, N_PRODUCTS = 30, 60
N_WARM_UP = 3
APP = f"{Path(__file__).resolve().parent.parent / 'recommender'}{os.sep}"

Pairs = Counter[tuple[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep the small demo here, or use the one that is here")
    folder = parser.parse_args().folder
    if folder is not None:
        _measure(folder)
        return
    with tempfile.TemporaryDirectory(prefix="shopreco-bench-") as temporary:
        _measure(Path(temporary))


def _measure(folder: Path) -> None:
    os.environ.update(SHOPRECO_VAR=str(folder), DJANGO_DEBUG="0", DJANGO_SECRET_KEY="only-for-this-run")  # noqa: S106
    os.environ["SHOPRECO_TLS"] = "0"
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    import django

    django.setup()
    from django.conf import settings

    settings.ALLOWED_HOSTS = ["testserver"]
    if not (folder / "static").exists():
        _build_shop(folder)
    load_page = _page()
    for _ in range(N_WARM_UP):
        load_page(None)
    pairs = room_changes(load_page)
    show("A product page with two lists", [Figure("changes of room", pairs.total(), CHANGES_LIMIT, "changes")])
    print(f"\nThe {N_PAIRS} most frequent:")
    for (before, after), n in pairs.most_common(N_PAIRS):
        print(f"{n:>6}  {before} -> {after}")


def room_changes(run: Callable[[Any], None]) -> Pairs:
    """Count the changes from one room to another while `run` calls its work under the profiler that it is given."""
    pairs: Pairs = Counter()
    room = ""

    def profile(frame: FrameType | None, event: str, _argument: object) -> None:
        nonlocal room
        if event == "return" and frame is not None:
            frame = frame.f_back
        if frame is None or event not in ("call", "return"):
            return
        path = frame.f_code.co_filename
        if not path.startswith(APP):
            return
        entered = path.removeprefix(APP).partition(os.sep)[0].removesuffix(".py")
        if room and entered != room:
            pairs[room, entered] += 1
        room = entered

    run(profile)
    return pairs


def _build_shop(folder: Path) -> None:
    from django.core.management import call_command
    from django.utils import timezone

    from recommender import tracking
    from recommender.bundles import bundle_zero
    from recommender.catalog import sync
    from recommender.datasets import statistics
    from recommender.serving.vectors import encode_missing
    from shopreco.shop import loading

    call_command("migrate", verbosity=0)
    loading.load(n_customers=N_CUSTOMERS, n_products=N_PRODUCTS, now=timezone.now())
    sync.sync()
    tracking.reconcile()
    statistics.refresh_statistics()
    encode_missing(bundle_zero.ensure_champion().name)
    (folder / "static").mkdir(parents=True)


def _page() -> Callable[[Any], None]:
    """The page of the best-selling product, requested by the customer with the most orders, who has consented."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.db.models import Count

    from recommender import serving
    from shopreco.shop.models import Product

    serving.reload()
    products = Product.objects.filter(is_visible=True).annotate(n_lines=Count("order_lines"))
    path = products.order_by("-n_lines", "stock_code")[0].get_absolute_url()
    handler, factory = WSGIHandler(), _factory()

    def load(profile: Any) -> None:
        request = factory.get(path)
        sys.setprofile(profile)
        response: Any = handler.get_response(request)
        for closer in response._resource_closers:
            closer()
        sys.setprofile(None)
        n_lists = response.content.decode().count("data-ranking-id")
        if response.status_code != 200 or n_lists < 2:
            raise SystemExit(f"{path} answered {response.status_code} and shows {n_lists} items: expected two lists.")

    return load


def _factory() -> Any:
    import uuid

    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore
    from django.db.models import Count
    from django.test import RequestFactory

    from recommender.identity import cookie_for
    from shopreco.shop.models import Customer

    customers = Customer.objects.annotate(n_orders=Count("orders")).select_related("user")
    user = customers.order_by("-n_orders", "code")[0].user
    session = SessionStore()
    session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session.save()
    factory = RequestFactory(HTTP_USER_AGENT="Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0 Safari/537.36")
    factory.cookies["recommender_consent"] = "granted"
    factory.cookies["recommender_visitor"] = cookie_for(uuid.uuid4())
    factory.cookies["sessionid"] = str(session.session_key)
    return factory


if __name__ == "__main__":
    main()
