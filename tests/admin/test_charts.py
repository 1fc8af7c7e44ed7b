"""Charts are well-formed, say in words what they draw, and let nothing through unescaped."""

import math
from xml.etree import ElementTree

import pytest
from django.utils.safestring import SafeString
from hypothesis import given
from hypothesis import strategies as st

from recommender.admin.charts import (
    HEIGHT,
    N_POINTS,
    TOP,
    Bar,
    Series,
    bar_chart,
    column_chart,
    interval_chart,
    line_chart,
    ticks,
)
from recommender.runs.figures import Gain

SVG = "{http://www.w3.org/2000/svg}"
finite = st.floats(-1e12, 1e12)


def draw(*series: Series) -> SafeString:
    return line_chart(series, title="Loss", x_label="step", y_label="loss")


def tree(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)  # noqa: S314 (our own markup)


def path_points(chart: str) -> list[tuple[float, float]]:
    line = next(node for node in tree(chart).iter(f"{SVG}path") if "rec-line" in node.get("class", ""))
    return [(float(x), float(y)) for x, y in (pair.split() for pair in line.get("d", "")[1:].split("L"))]


def test_line_chart_tells_its_title_and_first_and_last_value_to_a_screen_reader() -> None:
    root = tree(draw(Series("encoder", [(0, 2.5), (10, 0.5)])))
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "Loss"
    assert root.findtext(f"{SVG}desc") == "encoder: loss from 2.5 to 0.5"


def test_greater_values_lie_higher_and_all_inside_the_plot() -> None:
    (left_x, left_y), (right_x, right_y) = path_points(draw(Series("encoder", [(0, 1.0), (10, 3.0)])))
    assert left_x < right_x
    assert TOP <= right_y < left_y <= HEIGHT


def test_every_series_has_a_name_in_the_legend_and_a_style_of_its_own() -> None:
    chart = draw(Series("training", [(0, 1), (1, 2)]), Series("validation", [(0, 2), (1, 1)]))
    assert ">training<" in chart
    assert ">validation<" in chart
    assert "rec-s0" in chart
    assert "rec-s1" in chart


def test_labels_are_escaped() -> None:
    charts = [
        draw(Series('<script>alert("x")</script>', [(0, 1), (1, 2)])),
        bar_chart([Bar("<b>bags</b>", 1, "<i>2</i>")], title="<u>"),
        column_chart([Bar("<b>", 1)], title="<u>"),
        interval_chart([("<script>", Gain(-1, 0, 1))], title="<u>"),
    ]
    for chart in charts:
        assert {node.tag.removeprefix(SVG) for node in tree(chart).iter()} <= {
            "svg", "title", "desc", "path", "text", "rect", "circle"
        }  # fmt: skip


def test_values_that_are_not_finite_are_left_out() -> None:
    chart = draw(Series("encoder", [(0, math.nan), (1, 2.0), (2, math.inf), (3, 1.0)]))
    assert "nan" not in chart
    assert len(path_points(chart)) == 2


@pytest.mark.parametrize("points", [[], [(0, math.nan)]])
def test_nothing_to_draw_gives_no_chart(points: list[tuple[float, float]]) -> None:
    assert draw(Series("encoder", points)) == ""
    assert bar_chart([], title="t") == column_chart([], title="t") == interval_chart([], title="t") == ""


def test_one_point_is_drawn_as_a_dot() -> None:
    assert "<circle" in draw(Series("encoder", [(5, 2.0)]))


def test_long_series_is_thinned_and_keeps_its_last_point() -> None:
    points = [(float(step), 1 / (step + 1)) for step in range(10_001)]
    drawn = path_points(draw(Series("encoder", points)))
    assert N_POINTS / 2 < len(drawn) <= N_POINTS + 1
    assert drawn[-1][0] == max(x for x, _ in drawn)


def test_interval_above_zero_is_better_below_is_worse_across_is_neither() -> None:
    chart = interval_chart(
        [("random", Gain(0.1, 0.2, 0.3)), ("own", Gain(-0.3, -0.2, -0.1)), ("knn", Gain(-0.1, 0.0, 0.1))],
        title="t",
    )
    dots = [node.get("class") for node in tree(chart).iter(f"{SVG}circle")]
    assert dots == ["rec-dot rec-better", "rec-dot rec-worse", "rec-dot rec-even"]
    assert "random: +0.2000 (+0.1000 to +0.3000)" in chart


def test_longest_bar_fills_its_track() -> None:
    chart = bar_chart([Bar("bags", 4.0, "12 bought"), Bar("clocks", 1.0, "3 bought")], title="Interests")
    widths = [
        float(node.get("width", "0")) for node in tree(chart).iter(f"{SVG}rect") if node.get("class") == "rec-bar"
    ]
    tracks = [
        float(node.get("width", "0")) for node in tree(chart).iter(f"{SVG}rect") if node.get("class") == "rec-track"
    ]
    assert widths == [tracks[0], pytest.approx(tracks[0] / 4, abs=0.1)]


@given(finite, finite, st.integers(2, 10))
def test_ticks_span_both_ends_and_ascend(first: float, second: float, n_wanted: int) -> None:
    lowest, highest = min(first, second), max(first, second)
    marks = ticks(lowest, highest, n_wanted)
    if (highest - lowest) <= 1e-9 * max(abs(lowest), abs(highest)):
        return  # closer than the ten digits that are written
    assert marks == sorted(marks)
    assert len(marks) <= 2 * n_wanted + 1
    slack = 1e-8 * max(abs(lowest), abs(highest), highest - lowest)
    assert marks[0] <= lowest + slack
    assert marks[-1] >= highest - slack


def test_ticks_are_round() -> None:
    assert ticks(0, 97, 6) == [0, 20, 40, 60, 80, 100]
    assert ticks(0.12, 0.58, 5) == [0, 0.2, 0.4, 0.6]


@given(st.lists(st.tuples(st.floats(allow_nan=True), st.floats(allow_nan=True)), max_size=50))
def test_any_points_give_well_formed_markup(points: list[tuple[float, float]]) -> None:
    chart = draw(Series("any", points))
    if chart:
        tree(chart)
