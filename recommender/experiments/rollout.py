"""Lets a bundle that a run promotes serve a share of the shoppers first, and everybody once its days are over."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from recommender import bundles, conf
from recommender.exceptions import ConfigurationError, RecommenderError
from recommender.experiments import conduct
from recommender.models import Bundle, Experiment

GROUP = "rollout"


@dataclass(frozen=True, slots=True)
class Rollout:
    """What the setting `ROLLOUT` says: the share of shoppers who try a new bundle, and for how many days."""

    share: float
    days: int


def rollout_of(declared: Any) -> Rollout | None:
    """The rollout of a setting; None for an empty one. Raises ConfigurationError for one that cannot be meant."""
    if declared == {}:
        return None
    expected = '{"share": more than 0 and up to 0.5, "days": 2 to 365}, or {} for none'
    values = dict(declared) if isinstance(declared, Mapping) else {}
    share, days = values.pop("share", None), values.pop("days", None)
    is_share = isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 0.5
    is_days = isinstance(days, int) and not isinstance(days, bool) and 2 <= days <= 365
    if values or not is_share or not is_days:
        raise ConfigurationError(f"ROLLOUT is {declared!r}. Expected {expected}.")
    return Rollout(float(share), days)


def roll_out(bundle: Bundle, *, at: dt.datetime) -> Experiment | None:
    """Try a bundle on the share of the setting; None where there is none, or nothing serves yet to compare it with.

    A rollout that still runs is stopped: the newer bundle was judged beside what serves everybody. Raises RunError for
    a bundle that cannot be served or for which another experiment leaves no room.
    """
    rollout, champion = rollout_of(conf.get("ROLLOUT")), bundles.champion()
    if rollout is None or champion is None or champion.pk == bundle.pk:
        return None
    for older in Experiment.objects.filter(state=Experiment.State.LIVE, group=GROUP):
        conduct.stop(older, at=at, reason=gettext("A newer bundle is rolled out."))
    experiment = Experiment(
        name=gettext("Rollout of bundle %s") % bundle,
        hypothesis=gettext(
            "A training promoted it: it is tried on a share of the shoppers before it serves everybody."
        ),
        bundle=bundle,
        needs_bundle=True,
        group=GROUP,
        variant_share=rollout.share,
        days=rollout.days,
        outcome_days=max(1, rollout.days // 2),
        promotes=True,
    )
    conduct.start(experiment, at=at)
    return experiment


def remark_on(experiment: Experiment) -> str:
    """One sentence for the page of the run."""
    sentence = gettext("It serves %(share)g %% of the shoppers for %(days)d days first, and everybody then.")
    return sentence % {"share": round(100 * experiment.variant_share, 1), "days": experiment.days}


def introduce(bundle: Bundle, *, at: dt.datetime) -> tuple[bool, str]:
    """Whether a bundle that a run promotes serves everybody now, and a remark for the run.

    It does not where people must approve it first, or where it is rolled out.
    """
    champion = bundles.champion()
    if bundles.n_people() > 1 and champion is not None and champion.pk != bundle.pk:
        return False, bundles.missing_in_words(bundles.n_people())
    experiment, remark = try_out(bundle, at=at)
    return experiment is None, remark


def try_out(bundle: Bundle, *, at: dt.datetime) -> tuple[Experiment | None, str]:
    """Roll a bundle out, with the remark for its run; where that is not possible, say why: then it serves at once."""
    try:
        experiment = roll_out(bundle, at=at)
    except RecommenderError as error:
        return None, gettext("It serves everybody at once, because it could not be rolled out: %s") % error
    return experiment, remark_on(experiment) if experiment is not None else ""
