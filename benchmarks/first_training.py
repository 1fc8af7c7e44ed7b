"""The first training of a shop that has sold for years: the cases its past orders give, and what a run makes of it.

    python -m benchmarks.first_training [--minutes 1]

120 real customers with 600 orders of the demo's data are loaded as any shop's past. The peer is the same shop had the
recommender been there from the first day: every product dated, every customer consenting. Then the dates go (items
count from a first sync of today), then the consent (nobody has ever been asked), then `ORDER_CONSENT` lets them teach.
"""

from __future__ import annotations

import argparse

from benchmarks.workbench import shop

N_CUSTOMERS, N_ORDERS, MOST_EACH, N_PRODUCTS = 120, 600, 6, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="time box of the training at the end; 0 for none")
    minutes = parser.parse_args().minutes
    with shop():
        _fill()
        peer = _cases("dated products, consenting customers")
        _forget_dates()
        _cases("first synced today", peer=peer)
        _forget_consent()
        _cases("and nobody has consented", peer=peer)
        _let_orders_teach()
        _cases('and ORDER_CONSENT = "pseudonymous"', peer=peer)
        if minutes:
            _train(minutes)


def _fill() -> None:
    from django.utils import timezone

    from recommender import tracking
    from recommender.catalog import sync
    from shopreco.shop import loading
    from shopreco.shop.models import Customer, Order

    loading.load(n_customers=N_CUSTOMERS, n_products=N_PRODUCTS, now=timezone.now())
    newest = [
        order
        for customer in Customer.objects.all()
        for order in customer.orders.order_by("-placed_at").values_list("placed_at", "pk")[:MOST_EACH]
    ]
    Order.objects.exclude(pk__in=[pk for _, pk in sorted(newest)[-N_ORDERS:]]).delete()
    sync.sync()
    tracking.reconcile()
    print(f"{Order.objects.count()} past orders of {Customer.objects.count()} customers\n")


def _forget_dates() -> None:
    from django.utils import timezone

    from recommender.models import Item

    Item.objects.update(first_seen_at=timezone.now())


def _forget_consent() -> None:
    from recommender import tracking
    from recommender.models import Event, Visitor

    Event.objects.all().delete()
    Visitor.objects.all().delete()
    tracking.reconcile()


def _let_orders_teach() -> None:
    from django.conf import settings

    from recommender import tracking

    settings.RECOMMENDER = {**settings.RECOMMENDER, "ORDER_CONSENT": "pseudonymous"}
    report = tracking.reconcile()
    print(f"  reconciled: {report.n_known} events known, {report.n_attached} given to their buyer")


def _cases(name: str, *, peer: int = 0) -> int:
    """Print how many visitors a training could be judged by, beside the peer."""
    from recommender import datasets
    from recommender.training.judging import evaluation
    from recommender.training.refusals import too_few_cases
    from recommender.training.split import split_in_time

    split = split_in_time(datasets.read_dataset())
    n_cases = len(evaluation.cases(split, most=10_000, seed=0))
    print(f"{name:<42} {n_cases:>5} cases   ratio {n_cases / (peer or n_cases):.2f}", flush=True)
    if n_cases < 10:
        print(f"  {too_few_cases(split, n_cases, needed='')}")
    return n_cases


def _train(minutes: float) -> None:
    from recommender import runs
    from recommender.models import Run
    from recommender.runs import supervision

    run = runs.request_run(trigger=supervision.HERE, settings={"minutes": minutes})
    supervision.supervise(run.pk)
    run = Run.objects.get(pk=run.pk)
    print(
        f"\na training of {minutes:g} minutes: {run.get_state_display()}, {run.get_verdict_display()}\n  {run.reason}"
    )
    for scope, n_cases in run.metrics.get("n_cases", {}).items():
        print(f"  {scope}: {n_cases} cases")


if __name__ == "__main__":
    main()
