"""Figures and settings of a run survive storage, and rows of every age can be read."""

import math

import pytest

from recommender.runs.comparisons import COMPETITORS, GUARDRAILS
from recommender.runs.conversion import as_json, read
from recommender.runs.figures import Circumstance, Figures, Gain, Guardrail, ListQuality, TrialFigures, TuningFigures
from recommender.runs.settings import RunSettings

FIGURES = Figures(
    lists={"all": {"ranker": ListQuality(ndcg=0.2, recall=0.3), "random": ListQuality(ndcg=0.1)}},
    intervals={"all": {"random": Gain(0.05, 0.1, 0.15)}},
    n_cases={"all": 600},
    served="ranker",
    context={"hour": Circumstance(0.02, is_used=True)},
    guardrails=(Guardrail("coverage", 0.3, 0.32, bound=0.04, tolerance=0.1, n=900),),
)


def test_figures_come_back_as_they_were_written():
    assert Figures.of(FIGURES.as_json()).as_json() == FIGURES.as_json()
    assert Figures.of(FIGURES.as_json()).intervals == FIGURES.intervals
    assert Figures.of(FIGURES.as_json()).guardrails == FIGURES.guardrails


def test_layout_is_the_documented_one():
    stored = FIGURES.as_json()
    assert stored["lists"]["all"]["ranker"] == {"ndcg": 0.2, "recall": 0.3}
    assert stored["intervals"]["all"]["random"] == [0.05, 0.1, 0.15]
    assert stored["context"]["hour"] == {"gain": 0.02, "told": True}
    assert stored["guardrails"][0]["verdict"] == "held"
    assert (stored["ranker"], stored["champion"], stored["served"]) == ("ranker", "champion", "ranker")


def test_row_that_was_written_before_the_renames_is_read():
    figures = Figures.of({"encoder": {"tuning": "lora", "tuning_steps": 7.0}, "context": {"hour": {"told": 1.0}}})
    assert figures.encoder is not None
    assert (figures.encoder.fine_tuning, figures.encoder.fine_tuning_steps) == ("lora", 7.0)
    assert figures.context["hour"].is_used
    settings = RunSettings.of({"minutes": 3, "tuning": "lora", "like": 4, "trials": 6, "gone": 1})
    assert (settings.fine_tuning, settings.repeats, settings.n_trials) == ("lora", 4, 6)
    assert settings.as_json() == {
        "minutes": 3.0, "seed": 0, "encoder": "auto", "fine_tuning": "lora", "like": 4, "trials": 6, "knobs": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stored", "read_as"),
    [
        (None, {}),
        ([], {}),
        ({"lists": 3, "heads": []}, {}),
        ({"intervals": {"all": {"random": [1, 2]}}}, {"intervals": {"all": {}}}),
        ({"n_cases": {"all": True, "new": 3}}, {"n_cases": {"new": 3}}),
    ],
)
def test_what_does_not_fit_is_left_out(stored, read_as):
    assert read(Figures, stored).as_json() == read_as


def test_part_that_fits_is_kept_beside_one_that_does_not():
    figures = Figures.of({"lists": {"all": {"ranker": {"ndcg": 0.1, "mrr": "x"}, "random": 3}}})
    assert figures.lists["all"]["ranker"].ndcg == 0.1
    assert math.isnan(figures.lists["all"]["ranker"].mrr)
    assert "random" not in figures.lists["all"]


def test_figure_that_is_no_number_is_never_stored():
    assert as_json(ListQuality(ndcg=math.nan, recall=0.5)) == {"recall": 0.5}
    assert as_json(Gain(math.nan, 0.1, math.inf)) == [None, 0.1, None]
    assert as_json(TuningFigures(trials=(TrialFigures("head", 1, {"head.n_epochs": 9}),)))["trials"][0] == {
        "phase": "head", "number": 1, "values": {"head.n_epochs": 9}, "state": "", "why": "", "is_present": False,
    }  # fmt: skip


def test_every_field_of_the_figures_can_be_left_out():
    assert Figures().as_json() == {}
    assert RunSettings().as_json() == {"minutes": 0.0, "seed": 0, "encoder": "auto", "knobs": {}}


def test_limit_is_the_larger_of_the_absolute_and_the_relative_one():
    assert GUARDRAILS["latency_p99"].allowed(10.0) == 20.0
    assert GUARDRAILS["latency_p99"].allowed(50.0) == 50.0
    assert GUARDRAILS["coverage"].allowed(0.3) == pytest.approx(0.1)
    assert GUARDRAILS["attack"].allowed(9.0) == 0.05


def test_competitors_and_guardrails_have_different_names():
    assert not set(COMPETITORS) & set(GUARDRAILS)
    assert all(row.label and row.explanation for row in (*COMPETITORS.values(), *GUARDRAILS.values()))
