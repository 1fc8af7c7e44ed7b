"""Trials of further features: known answers of their columns, nothing from the future, and gains that are planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import feature_trials
from benchmarks.feature_candidates import TRIALS, Columns, ColumnsOf, Moment
from benchmarks.feature_trials import Trials, judged
from benchmarks.workbench import InputError
from recommender.features.shop_state import build_state
from recommender.ml.head.lists import ShopHistory
from recommender.ml.histories import Histories
from recommender.tables import Interactions, Profile
from recommender.types import IntArray
from tests.behaviour import DAY, interactions, profile, shop, table

RED_CUP, BLUE_CUP, FORK = 0, 1, 7
EVERY_ITEM = np.arange(len(table()), dtype=np.int32)


def columns(trial: str, events: Interactions, visitor: Profile, *, at: float) -> Columns:
    moment = Moment(build_state(events, table(), at=at), table(), events)
    return TRIALS[trial](moment)(visitor, EVERY_ITEM)


def test_rate_of_repeats_tells_what_is_bought_again() -> None:
    again = [(who, RED_CUP, day, 10 * who + day) for who in range(20) for day in (0, 1)]
    once = [(who, FORK, 0, 10 * who) for who in range(20)]
    events = interactions(sorted([*again, *once], key=lambda row: row[2]))
    values = columns("repeats", events, profile([(RED_CUP, 3, 0), (FORK, 4, 1)], now_day=5), at=5 * DAY)
    assert values["rate"][RED_CUP] > values["rate"][FORK]
    assert values["own_since"][[RED_CUP, FORK, BLUE_CUP]].tolist() == pytest.approx([0.9, 1, 0])


@pytest.mark.parametrize("trial", TRIALS)
def test_columns_see_nothing_after_their_moment(trial: str) -> None:
    events, at = shop(), 40 * DAY
    past = events.take(events.time < at)
    visitor = Histories(events).profile(3, at=at)
    whole, cut = columns(trial, events, visitor, at=at), columns(trial, past, visitor, at=at)
    assert all((whole[name] == cut[name]).all() and whole[name].any() for name in whole)


def trials(folder: Path) -> Trials:
    shop_history = ShopHistory(Histories(shop(n_visitors=200)), table())
    return Trials(shop_history, folder, seconds=10 * DAY, n_visitors=200)


def test_planted_column_gains_and_lists_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(moment: Moment) -> ColumnsOf:
        """What each visitor buys next, read from the future."""
        histories = Histories(moment.interactions)
        of_profile = {histories.profile(v, at=moment.state.at).time.tobytes(): v for v in range(histories.n_visitors)}

        def read(visitor: Profile, rows: IntArray) -> Columns:
            at, who = moment.state.at, of_profile[visitor.time.tobytes()]
            return {"next": np.isin(rows, histories.bought(who, since=at, until=at + 10 * DAY)).astype(np.float32)}

        return read

    monkeypatch.setitem(feature_trials.TRIALS, "planted", planted)  # type: ignore[arg-type]
    at = 80 * DAY
    tables = dict(judged(trials(tmp_path), at, ["planted"], step=5 * DAY, n_moments=3))
    served, with_column = tables["all"]
    assert served[0] == "served"
    assert float(with_column[1]) > 0.98 > float(served[1])
    assert "[+" in with_column[2], "the interval is above 0"
    monkeypatch.setattr(Trials, "_computed", None)
    assert dict(judged(trials(tmp_path), at, ["planted"], step=5 * DAY, n_moments=3)) == tables


def test_unknown_trial_is_named_with_those_that_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        feature_trials.main(
            ["--items", "i", "--events", "e", "--cache", str(tmp_path), "--at", "2011-08-10", "--try", "luck"]
        )
    assert "There is no trial luck: choose from repeats" in capsys.readouterr().err
