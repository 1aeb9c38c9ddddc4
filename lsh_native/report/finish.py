"""What a finished study leaves in its folder: the best model, the numbers, the report."""

from __future__ import annotations

import json
from pathlib import Path

from lsh_native.report import html
from lsh_native.report.final import FinalTable
from lsh_native.report.gallery import every_figure
from lsh_native.report.measure import measure_models
from lsh_native.report.tables import budget_table, comparison, headline
from lsh_native.report.view import view_study
from lsh_native.search.result import StudyResult, read_result
from lsh_native.search.store import Store
from lsh_native.search.training_runner import TrainingRunner
from lsh_native.training import replace_file, save_model

__all__ = ["Finished", "finish_study", "read_table", "write_figures", "write_report"]

BEST = Path("best") / "model.safetensors"
DENSE = Path("dense") / "model.safetensors"
SUMMARY = "summary.json"
REPORT = "report.html"


class Finished:
    """What to print when a search has ended.

    Args:
        table: the numbers.
        folder: the study's folder.
    """

    def __init__(self, table: FinalTable, folder: Path) -> None:
        self.table = table
        self._folder = folder

    def text(self) -> str:
        """The final table, the budget, and where the results lie."""
        found, dense = self.table.found, self.table.dense
        lines = [comparison(self.table).text(), "", budget_table(self.table.budget).text(), ""]
        if found is not None:
            lines += [
                headline(
                    density=found.density,
                    perplexity=found.valid_perplexity,
                    dense_perplexity=dense.valid_perplexity,
                ),
                f"Pruned by: {found.method}",
                f"Best model: {self._folder / BEST}",
            ]
        lines.append(f"Report: {self._folder / REPORT}")
        return "\n".join(lines)


def finish_study(store: Store, runner: TrainingRunner, folder: Path) -> Finished:
    """Writes `best/`, `dense/`, `summary.json` and `report.html` of a study that has ended.

    Args:
        store: of the study.
        runner: that trained it.
        folder: where to write.

    Raises:
        ValueError: the dense reference has not finished.
    """
    result = read_result(store)
    reference = result.reference
    if reference is None or reference.best is None:
        raise ValueError("the dense reference must have finished, it has not")
    models = []
    for summary, place in ((reference, DENSE), (result.best, BEST)):
        if summary is None:
            continue
        path = folder / place
        path.parent.mkdir(exist_ok=True)
        save_model(
            path,
            runner.best(summary.trial),
            runner.recipe_of(summary.trial),
            runner.corpus.vocabulary,
        )
        models.append((summary, path, store.epochs(summary.trial.number)))
    dense, *found = measure_models(models, runner.corpus, device=runner.device)
    table = FinalTable(
        dense=dense,
        found=found[0] if found else None,
        budget=result.budget,
        best_possible_perplexity=runner.corpus.best_perplexity,
        missed=result.missed,
    )
    text = json.dumps(_summary(result, store, table), indent=1, allow_nan=False)
    replace_file(folder / SUMMARY, f"{text}\n".encode())
    write_report(store, folder, table)
    return Finished(table, folder)


def write_report(store: Store, folder: Path, table: FinalTable | None = None) -> Path:
    """Writes `report.html` from what is stored.

    Args:
        store: of the study, which may be unfinished.
        folder: where to write.
        table: the final numbers, if the study has ended.

    Returns:
        The path of the page.
    """
    name = store.configuration.get("data", {}).get("name", "")
    title = f"Search for a sparse network: {name}" if name else html.TITLE
    return html.write_report(folder / REPORT, store, table=table, title=title)


def write_figures(store: Store, folder: Path, table: FinalTable | None = None) -> list[Path]:
    """Writes the report's figures as SVG files of their own, one a drawing.

    Args:
        store: of the study, which may be unfinished.
        folder: where to write; made if it is not there.
        table: the final numbers, if the study has ended.

    Returns:
        The paths of the drawings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for figure in every_figure(view_study(store), table):
        for number, (_, svg) in enumerate(figure.panels, start=1):
            several = f"-{number}" if len(figure.panels) > 1 else ""
            paths.append(folder / f"{figure.name}{several}.svg")
            replace_file(paths[-1], svg.encode())
    return paths


def read_table(store: Store, folder: Path) -> FinalTable | None:
    """The final numbers that `finish_study` left in a folder, None where it left none."""
    path = folder / SUMMARY
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    return FinalTable.from_dict(record, read_result(store).budget)


def _summary(result: StudyResult, store: Store, table: FinalTable) -> dict[str, object]:
    """Every number of the printed tables, and what they were measured with."""
    best = result.best
    return {
        **table.to_dict(),
        "best_trial": None if best is None else best.trial.number,
        "candidate": None
        if best is None or best.trial.candidate is None
        else best.trial.candidate.to_dict(),
        "configuration": store.configuration,
        "versions": store.versions,
    }
