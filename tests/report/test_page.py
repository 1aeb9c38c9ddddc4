"""The page: self-contained, escaped, repeatable, and honest at every stage of a study."""

import base64
import errno
import hashlib
import math
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from report_studies import final_table_of, run_study
from synthetic_runner import SyntheticRunner, make_study

from lsh_native.report import plots
from lsh_native.report.choices import _grouped, _omega_squared, importance
from lsh_native.report.evidence import evidence_text
from lsh_native.report.final import FinalTable
from lsh_native.report.gallery import every_figure
from lsh_native.report.html import render, write_report
from lsh_native.report.tables import budget_table, comparison
from lsh_native.report.view import view_study
from lsh_native.search.interval import Interval
from lsh_native.search.rounds import Elimination, Full
from lsh_native.search.space import Space
from lsh_native.search.store import Store
from lsh_native.search.trial import Diverged

HOSTILE = "</td><script>alert('x')</script>&\"<b>"
MANY = {
    "candidates": 12,
    "rounds": Elimination(total=6, first=2, survivors=lambda n: max(n // 2 + 1, min(n, 9))),
}
VOID = {"meta", "br", "hr"}


class Reader(HTMLParser):
    """What a page says and refers to; fails where elements are not closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.references, self.tags, self.words = [], [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "srcset", "action", "data", "xlink:href"):
                self.references.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" not in self.open and "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The store of a finished study; not to be written."""
    folder = tmp_path_factory.mktemp("finished")
    with Store(folder / "study.db") as store:
        store._database.query("PRAGMA synchronous = OFF")
        run_study(store, folder, candidates=8, nan=lambda trial, epoch: trial.number == 3)
        yield store


@pytest.fixture(scope="module")
def page(finished):
    return render(view_study(finished), table=final_table_of(finished))


def test_what_stands_on_the_page(page, finished):
    text = Reader(page).text
    assert "A network with 33 % of the connections reached validation perplexity 61.2" in text
    assert "2 of 8 candidates were trained to the end." in text
    assert "Candidate 3 diverged: the validation loss is nan after epoch 1." in text
    assert "Only 2 candidates finished: nothing can be concluded about any score" in text
    for section in ("Result", "Cost", "Candidates", "Training", "Spectra", "Connections"):
        assert section in text
    assert "Scores What each score said" in text
    assert "search.candidates 8" in text
    final = final_table_of(finished)
    for table in (comparison(final), budget_table(final.budget)):
        for row in table.rows:
            assert " ".join(filter(None, row)) in text
    for summary in view_study(finished).result.trials:
        assert f"#{summary.trial.number}" in text


def test_every_score_of_every_elimination_is_shown(page, finished):
    text = Reader(page).text
    for rung in finished.rungs():
        assert f"after epoch {rung.epoch}" in text
    for score in finished.scores():
        assert f"{score.value:.2f}"[:-1] in text


def test_the_page_refers_to_nothing_outside(page):
    reader = Reader(page)
    assert all(reference.startswith("#") for reference in reader.references)
    assert {reference[1:] for reference in reader.references} <= set(reader.ids)
    assert len(set(reader.ids)) == len(reader.ids)
    assert not re.search(r"https?:|//|@import|url\((?!#)", page.replace("// Sorts", ""))
    assert not {"link", "img", "iframe", "object", "embed"} & set(reader.tags)


def test_only_the_script_of_the_page_may_run(page):
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "default-src &#x27;none&#x27;" in policy
    assert f"script-src &#x27;sha256-{digest}&#x27;" in policy


def test_drawings_are_xml_in_the_colours_of_the_page(page):
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) >= 10
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.attrib["aria-label"]
    assert not re.search("#[0-9a-f]{6}", "".join(drawings))
    dark = page.partition("prefers-color-scheme: dark")[2].partition("\n}")[0]
    for name in plots.PALETTE:
        assert f"--{name}:" in page
        assert f"--{name}:" in dark


def test_the_same_study_gives_the_same_page(page, finished):
    assert render(view_study(finished), table=final_table_of(finished)) == page


def test_nothing_from_data_becomes_markup(store, run, final_table, monkeypatch):
    plain = SyntheticRunner.spectrum

    def spectrum(self, trial, epoch, part=0):
        if trial.number == 2:
            raise Diverged(HOSTILE)
        return plain(self, trial, epoch, part)

    monkeypatch.setattr(SyntheticRunner, "spectrum", spectrum)
    run(settings={HOSTILE: {"text": HOSTILE}}, versions={"torch": HOSTILE}, candidates=6)
    table = final_table()
    hostile = FinalTable(
        dense=table.dense,
        found=with_matrix(table.found, HOSTILE),
        budget=table.budget,
    )
    page = render(view_study(store), table=hostile, title=HOSTILE)
    assert page.count("<script") == 1
    assert "<b>" not in page
    reader = Reader(page)
    assert reader.text.count(" ".join(HOSTILE.split())) >= 4


def with_matrix(model, name):
    return replace(model, blocks=tuple(replace(b, matrix=name, gate=name) for b in model.blocks))


def test_many_finished_candidates(store, run):
    run(**MANY)
    text = Reader(render(view_study(store))).text
    assert "9 candidates finished. Pairs of them" in text
    assert re.search(r"loss \d+ of 36", text)
    assert "not a random sample" in text
    assert "nothing can be concluded" not in text


def gather(store, folder, **changes):
    """Train all candidates to the end, for evidence; return what is said of it, and the page."""
    study = make_study(store, SyntheticRunner(folder), **changes)
    study.run()
    evidence = study.gather_evidence(12)
    text = " ".join("".join(Reader(render(view_study(store))).words).split())
    return evidence_text(evidence), text


def test_evidence_holds_chance_against_the_search(store, tmp_path):
    told, page = gather(store, tmp_path, candidates=12)
    for text in (" ".join(told.split()), page):
        assert "random search" in text
        assert "random elimination" in text
        assert "pays the 6 epochs of the dense reference beyond" in text
        assert "Random search trains 6 candidates to the end" in text
    drawn = every_figure(view_study(store))
    svg = next(figure for figure in drawn if figure.name == "rivals").panels[0][1]
    assert "random search" in svg


@pytest.mark.parametrize("total", [1, 6])
def test_evidence_of_full_training(store, tmp_path, total):
    told, page = gather(store, tmp_path, candidates=9, rounds=Full(total=total))
    verdict = told.splitlines()[-1]
    assert verdict in page
    assert ("not compared before their end" in verdict) == (total == 1)
    assert ("this study stopped nobody" in page) == (total == 6)


def test_full_training_is_evidence_by_itself(store, run):
    run(rounds=Full(total=6), candidates=9)
    view = view_study(store)
    assert view.evidence is not None
    assert view.evidence.verdict in " ".join("".join(Reader(render(view)).words).split())


def test_no_claim_beyond_what_was_measured(page):
    text = Reader(page).text.lower()
    assert not re.search("predict|better than|beats|proves|optimal|significant", text)


def test_a_study_that_has_not_started(store):
    text = Reader(render(view_study(store))).text
    assert (
        text == "Search for a sparse network Search for a sparse network The study has not started."
    )


@pytest.mark.parametrize("events", [3, 14, 22, 40, 60])
def test_a_study_that_is_not_finished(store, run, events):
    run(events=events)
    text = Reader(render(view_study(store))).text
    assert "The study is not finished" in text
    assert "reached validation perplexity" not in text
    assert "full search" not in text


@pytest.mark.parametrize("first_epoch", [1, 3])
def test_a_study_without_a_result(store, run, first_epoch):
    run(nan=lambda trial, epoch: trial.number > 0 and epoch >= first_epoch)
    text = Reader(render(view_study(store))).text
    assert "The study has no result: none of its 5 candidates reached the end." in text
    assert "diverged: the validation loss is nan" in text


def test_a_study_without_a_reference(store, run):
    run(nan=lambda trial, epoch: trial.number == 0)
    assert "The dense reference diverged" in Reader(render(view_study(store))).text


def test_losses_and_exponents_without_bounds(store, run, monkeypatch):
    plain = SyntheticRunner.spectrum

    def spectrum(self, trial, epoch, part=0):
        record = plain(self, trial, epoch, part)
        record.exponents[1, -1] = -math.inf
        return record

    monkeypatch.setattr(SyntheticRunner, "spectrum", spectrum)
    monkeypatch.setattr("synthetic_runner.quality", lambda trial: 800.0 * (trial.number == 1))
    run(distance=lambda a, b: float(np.abs(a.exponents[0] - b.exponents[0]).sum()))
    text = Reader(render(view_study(store))).text
    assert "∞" in text
    assert "exponents of minus infinity" in text


def test_writing_the_page(finished, page, tmp_path):
    path = write_report(tmp_path / "report.html", finished, table=final_table_of(finished))
    assert path.read_text(encoding="utf-8") == page
    assert not list(tmp_path.glob("*.partial"))


def test_a_page_is_replaced_whole_or_not_at_all(store, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*paths):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        write_report(path, store)
    assert path.read_text() == "old"
    assert not list(tmp_path.glob("*.partial"))


def test_connections_over_time_and_what_a_network_costs(store, run, monkeypatch):
    plain = SyntheticRunner.run

    def measured(self, trial, until, record):
        def detailed(epoch):
            costs = {"non_zeros": 100 + trial.number, "token_milliseconds": 2 - 0.1 * trial.number}
            turnover = {"survival": 0.9**epoch.epoch, "explored": 0.3 + 0.05 * epoch.epoch}
            record(replace(epoch, details=costs if trial.candidate is None else costs | turnover))

        plain(self, trial, until, detailed)

    monkeypatch.setattr(SyntheticRunner, "run", measured)
    run(candidates=8)
    page = render(view_study(store))
    reader = Reader(page)
    assert "How much each candidate rewires." in reader.text
    for label in (
        "Share of the first connections still there",
        "Share of the weights connected so far",
        "Perplexity against non-zeros",
        "Perplexity against milliseconds a token",
    ):
        assert f'aria-label="{label}"' in page


def test_the_table_of_candidates_shows_their_controls(store, run):
    space = Space(method=("rigl",), initial=("uniform",), controls={"rigl": {"every": (50, 100)}})
    run(space=space, candidates=2)
    page = render(view_study(store))
    table = page.partition('class="scroll sortable"')[2].partition("</table>")[0]
    head, _, body = table.partition("</thead>")
    assert ">every<" in head
    assert ">50<" in body
    assert ">100<" in body
    assert "All candidates: method rigl, initial uniform." in Reader(page).text


def test_importance_counts_numbers_too_and_names_what_it_leaves_out(store, run, monkeypatch):
    def rate(trial):
        return trial.candidate.learning_rate / 10 if trial.candidate else 0.0

    monkeypatch.setattr("synthetic_runner.quality", rate)
    space = Space(
        method=("static",),
        learning_rate=Interval(low=0.1, high=10),
        dropout=Interval(low=0, high=0.5),
        batch_size=(1, 2),
    )
    run(space=space, candidates=16)
    figure = importance(view_study(store))
    (_, drawn), *_ = figure.panels
    shares = re.findall(r">(learning rate|dropout|batch size|\d+ %)<", drawn)
    shares = [share for share in shares if not share.endswith("%")]
    assert set(shares) == {"learning rate", "dropout", "batch size"}
    first = re.findall(r">(\d+) %<", drawn)
    assert max(map(int, first)) > 60
    assert "up to 4 groups of equal size" in figure.caption


def test_values_are_grouped_where_they_hardly_repeat():
    assert _grouped(["a", "b", None, "a"]) == [0, 1, 2, 0]
    assert _grouped([0.1] * 4 + [0.2] * 4) == [0] * 4 + [1] * 4
    numbers = [*range(16)]
    assert _grouped(numbers) == [n // 4 for n in numbers]
    assert _grouped([*numbers[:8], *[None] * 4]) == [0] * 4 + [1] * 4 + [2] * 4
    assert _grouped([1.0, 2.0, 3.0]) == [0, 1, 2]
    assert _omega_squared(np.array([1.0, 2.0, 3.0]), [0, 1, 2]) is None
