"""Drawings: valid, repeatable SVG from plain data, on given axes too, and no global state."""

from itertools import pairwise
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from lsh_native.report import plots
from lsh_native.report.final import Block
from lsh_native.report.plots import Curve, Lane, Point, to_svg
from lsh_native.report.plots.curves import spread
from lsh_native.report.view import Role

SPECTRUM = [
    Curve(role=Role.STOPPED, x=(1, 2, 3), y=(0.1, -0.5, -1)),
    Curve(label="dense", role=Role.DENSE, x=(1, 2, 3), y=(0, -0.6, -np.inf), error=(0.1, 0.1, 0)),
]
LOSSES = [
    Curve(label="dense", role=Role.DENSE, x=(1, 2, 3), y=(np.inf, 90, 60)),
    Curve(label="#1", role=Role.FOUND, x=(1, 2, 3), y=(500, 100, 61)),
]
BLOCKS = [
    Block(matrix="$x_1$", weights=10, non_zeros=3),
    Block(matrix="w", gate="input", weights=10, non_zeros=0),
    Block(matrix="w", gate="forget", weights=10, non_zeros=10),
]

# Each draws on the axes it is given, or on its own.
DRAWINGS = {
    "spectrum": lambda axes=None: plots.spectrum(SPECTRUM, axes, title="layer 1"),
    "convergence": lambda axes=None: plots.convergence(
        [Curve(label="dense", role=Role.DENSE, x=(5, 10, 15), y=(0.3, 0.1, 0.2), error=0.05)], axes
    ),
    "trajectory": lambda axes=None: plots.trajectory(LOSSES, axes, rungs=(2,)),
    "survival": lambda axes=None: plots.survival(
        [
            Lane(label="#1", role=Role.FOUND, epochs=6, ranks=((2, 1), (4, 12))),
            Lane(label="#2", role=Role.LOST, epochs=0),
        ],
        axes,
        rungs=(2, 4),
        total=6,
    ),
    "density": lambda axes=None: plots.density(BLOCKS, axes),
    "scores": lambda axes=None: plots.score_against_final(
        [Point(label="#1", role=Role.FOUND, score=4.1, perplexity=61.0)], axes
    ),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_drawing_is_the_same_svg_each_time(draw):
    svg = to_svg(draw())
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert to_svg(draw()) == svg
    assert "nan" not in svg
    assert "date" not in svg.lower()


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_drawing_on_given_axes(draw):
    axes = Figure().subplots()
    assert draw(axes) is axes
    assert axes.has_data()


def test_two_axes_over_the_same_epochs():
    figure = plots.over_epochs(SPECTRUM[:1], LOSSES, rungs=(2,), total=3)
    upper, lower = figure.axes
    assert upper.get_xlim() == lower.get_xlim() == (0, 3)
    alone = plots.over_epochs([], LOSSES, rungs=(), total=3)
    assert len(alone.axes) == 1


def test_no_setting_of_matplotlib_is_changed():
    before = dict(matplotlib.rcParams)
    for draw in DRAWINGS.values():
        to_svg(draw())
    assert dict(matplotlib.rcParams) == before


def test_text_is_text_and_never_formulas():
    svg = to_svg(DRAWINGS["density"]())
    assert "$x_1$" in svg
    assert "all 43.3 %" in svg


def test_labels_at_the_ends_of_curves():
    svg = to_svg(DRAWINGS["trajectory"]())
    assert ">dense<" in svg
    assert ">#1<" in svg


def test_perplexities_above_twice_the_best_are_cut_off():
    axes = plots.trajectory(LOSSES)
    low, high = axes.get_ylim()
    assert low < 60
    assert 120 < high < 130


def test_nothing_but_infinities_can_be_drawn():
    svg = to_svg(plots.trajectory([Curve(role=Role.FOUND, x=(1, 2), y=(np.inf, np.inf))]))
    assert "nan" not in svg


def test_every_role_has_its_colour():
    assert set(plots.ROLE_COLOURS) == set(Role)
    assert len(set(plots.PALETTE.values())) == len(plots.PALETTE)


@given(st.lists(st.floats(0, 1), max_size=8).map(sorted), st.floats(0.01, 0.1))
def test_spread_labels_keep_their_order_and_their_distance(heights, gap):
    apart = spread(heights, gap)
    assert len(apart) == len(heights)
    assert all(0 - 1e-9 <= height <= 1 + 1e-9 for height in apart)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(apart))
