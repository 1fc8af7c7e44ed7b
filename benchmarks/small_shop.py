"""The first month of a small shop: does it get a learned ranker from 200 orders?

    python -m benchmarks.small_shop [--orders 200] [--seeds 3] [--minutes 3] [--fine-tuning frozen]

The newest 30 days of the loaded demo are thinned to so many orders, those of whole customers drawn by the seed; items
that nobody of them bought are off the shelf. Bundle 0 serves when the month ends. Then one training: its verdict, on
how many cases of how many windows, and its gain over bundle 0.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

DAYS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=3.0, help="time box of each training")
    parser.add_argument("--fine-tuning", default="full", help="how BERT is fine-tuned; frozen takes the least time")
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seed is not None:
        settings = {"minutes": options.minutes, "fine_tuning": options.fine_tuning, "seed": options.seed}
        _month(settings, n_orders=options.orders)
        return
    for seed in range(options.seeds):  # each in a process of its own, on a copy of the demo
        with tempfile.TemporaryDirectory(prefix="shopreco-small-") as folder:
            shutil.copytree(os.environ.get("SHOPRECO_VAR", "var"), folder, dirs_exist_ok=True)
            again = [*sys.argv[1:], "--seed", str(seed)]
            command = [sys.executable, "-m", "benchmarks.small_shop", *again]
            subprocess.run(command, check=True, env={**os.environ, "SHOPRECO_VAR": folder})


def _month(settings: dict[str, Any], *, n_orders: int) -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    thin(n_orders, seed=settings["seed"])
    _train(settings)


def thin(n_orders: int, *, seed: int) -> None:
    """Leave the orders of customers drawn by the seed, in the newest 30 days, and bundle 0."""
    import datetime as dt

    from recommender import bundles
    from recommender.models import Bundle, Event, Item, Run

    newest = Event.objects.filter(type="purchase").latest("occurred_at").occurred_at
    month = Event.objects.filter(type="purchase", occurred_at__gt=newest - dt.timedelta(days=DAYS))
    orders = sorted(set(month.exclude(visitor=None).values_list("visitor", "order_id")))
    count = {visitor: sum(v == visitor for v, _ in orders) for visitor in {v for v, _ in orders}}
    drawn: list[int] = []
    for visitor in np.random.default_rng(seed).permutation(sorted(count)).tolist():
        if sum(count[v] for v in drawn) >= n_orders:
            break
        drawn.append(visitor)
    n_lines = month.filter(visitor__in=drawn).count()
    Event.objects.exclude(pk__in=month.filter(visitor__in=drawn).values("pk")).delete()
    Item.objects.exclude(item_id__in=Event.objects.values("item_id")).update(is_active=False)
    Run.objects.all().delete()
    bundles.promote(bundles.untrained())
    Bundle.objects.filter(is_trained=True).delete()
    n_items = Item.objects.filter(is_active=True).count()
    print(
        f"seed {seed}: {sum(count[v] for v in drawn)} orders of {len(drawn)} customers in {DAYS} days, "
        f"{n_lines} lines, {n_items} items",
        flush=True,
    )


def _train(settings: dict[str, Any]) -> None:
    from recommender import bundles, runs, training
    from recommender.models import Run
    from recommender.runs.comparisons import CHAMPION
    from recommender.runs.figures import Figures

    run = runs.request_run(trigger="here", settings=settings)
    training.run(run.pk, runs.lease(run.pk, worker="benchmark") or 0)
    run = Run.objects.get(pk=run.pk)
    figures, champion = Figures.of(run.metrics), bundles.champion()
    serves = "a learned ranker" if champion is not None and champion.is_trained else "bundle 0"
    print(f"  {run.get_state_display()}, {run.get_verdict_display()}; {serves} serves\n  {run.reason}")
    for scope, gains in figures.intervals.items():
        gain, n = gains[CHAMPION], figures.n_cases[scope]
        print(
            f"  {scope}: {n} cases of {figures.n_windows} windows, NDCG@10 of the new model against bundle 0 "
            f"{gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
