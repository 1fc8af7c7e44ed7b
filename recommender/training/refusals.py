"""Why there is too little data to train on: the cause and its repair in words, not only a count."""

from __future__ import annotations

import numpy as np
from django.utils.translation import gettext, ngettext

from recommender import tracking
from recommender.capture import order_consent
from recommender.datasets.report import day_of
from recommender.features.weights import EVENT_WEIGHTS
from recommender.training.judging import evaluation
from recommender.training.split import Split, unknown_items
from recommender.types import EVENT_CODES, EventType

PURCHASE = EVENT_CODES[EventType.PURCHASE]


def too_few_cases(split: Split, n_cases: int, *, needed: str) -> str:
    """Say how many visitors there are to evaluate on, how many are needed, and why there are not more."""
    count = ngettext(
        "Insufficient data: %(n)s visitor came before the test window and bought in it.",
        "Insufficient data: %(n)s visitors came before the test window and bought in it.",
        n_cases,
    ) % {"n": n_cases}
    return " ".join(filter(None, [count, needed, *_causes(split)]))


def _causes(split: Split) -> list[str]:
    causes = [cause for cause in (_anonymous_purchases(split), _new_items(split), unknown_items(split.report)) if cause]
    return causes or [_too_few_return(split)]


def _anonymous_purchases(split: Split) -> str:
    """Where most purchases have no visitor: is consent missing, or do the orders name no customer?"""
    bought = split.whole.type == PURCHASE
    n_bought, n_anonymous = int(bought.sum()), int((bought & (split.whole.visitor < 0)).sum())
    if 2 * n_anonymous <= n_bought or not n_bought:
        return ""
    count = gettext("%(n)s of %(all)s purchases belong to no visitor:") % {"n": n_anonymous, "all": n_bought}
    sample = tracking.nobodys_orders()
    if sample.n_rows and not sample.n_named:
        return f"{count} " + gettext(
            "the order rows name no customer, or addresses that no account has. Guests are known by their browser "
            "only: name what the shop keeps of it as `visitor` in the OrderRows; what shoppers do from now on counts "
            "once they have consented."
        )
    if sample.n_named and not order_consent.is_open():
        return f"{count} " + gettext(
            "their customers have not consented here. RECOMMENDER['ORDER_CONSENT'] decides whether past orders may "
            "teach the model; after a change run `python manage.py recommender_reconcile`."
        )
    return f"{count} " + gettext(
        "they were made by guests, by people who objected, or recorded before their customers consented. Run "
        "`python manage.py recommender_reconcile` to give them to their buyers."
    )


def _new_items(split: Split) -> str:
    """Where most items bought in the window were first seen within it."""
    wanted = (split.whole.time >= split.test_start) & (split.whole.type == PURCHASE) & (split.whole.visitor >= 0)
    items = split.whole.item[wanted]
    n_new = int((~split.items.active[items]).sum())
    if 2 * n_new <= len(items) or not len(items):
        return ""
    return gettext(
        "%(n)s of %(all)s purchases in the window are of items that are hidden now or were first seen within it, on or "
        "after %(day)s. Give the Catalog the date of each object as `first_seen`."
    ) % {"n": n_new, "all": len(items), "day": day_of(split.test_start)}


def _too_few_return(split: Split) -> str:
    before = split.past.visitor[(split.past.visitor >= 0) & (EVENT_WEIGHTS[split.past.type] > 0)]
    wanted = evaluation.wanted_type(split)
    is_wanted = (split.whole.time >= split.test_start) & (split.whole.type == EVENT_CODES[wanted])
    later = split.whole.visitor[is_wanted & (split.whole.visitor >= 0)]
    return gettext(
        "%(before)s visitors did something before the test window, which begins on %(day)s; %(later)s did what counts "
        "(%(kind)s) in it. Wait for shoppers to come back."
    ) % {
        "before": len(np.unique(before)),
        "later": len(np.unique(later)),
        "day": day_of(split.test_start),
        "kind": wanted.value,
    }
