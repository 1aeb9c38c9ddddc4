"""Progress of long work: a live table on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from lsh_native.search.candidate import Candidate, Value
from lsh_native.search.coordinator import Limits
from lsh_native.search.events import (
    Eliminated,
    EpochDone,
    Event,
    PoolExhausted,
    ScoreFailed,
    SpectrumDone,
    StudyInterrupted,
    StudyPaused,
    StudyStarted,
    TrialCompleted,
    TrialLost,
    TrialProposed,
    TrialRetried,
    TrialStarted,
    TrialStepped,
)
from lsh_native.search.store import Store
from lsh_native.search.trial import REFERENCE, State, Trial
from lsh_native.training import perplexity

__all__ = ["Progress"]


class _Row:
    """What the live table shows of one trial."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.epoch = trial.epochs
        self.perplexity = ""
        self.distance = ""
        self.state = str(trial.state)
        self.until = trial.epochs
        self.seconds = 0.0
        self.share = 0.0

    def going(self) -> str:
        """How far a running trial is, and the seconds until its next rung."""
        if self.epoch >= self.until:
            return "spectrum"
        left = max(0.0, (self.until - self.epoch - self.share) * self.seconds)
        seconds = f", {left:.0f} s to epoch {self.until}" if self.seconds else ""
        return f"{100 * self.share:.0f} % of epoch {self.epoch + 1}{seconds}"


class Progress:
    """Shows what a study does; use as a context manager."""

    def __init__(self) -> None:
        self._console = Console()
        self._rows: dict[int, _Row] = {}
        self._total = 0
        self._planned: int | None = None
        self._exact = True
        self._limits = Limits()
        self._started = time.monotonic()
        self._epochs = 0
        self._best: tuple[float, int] | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                refresh_per_second=4,
                transient=True,
                get_renderable=self._screen,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            if self._rows:
                self._console.print(self._table(rows=len(self._rows)))

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def expect(self, epochs: int | None, exact: bool, limits: Limits) -> None:
        """Takes what a study will spend, as far as that is known beforehand.

        Args:
            epochs: of training, all trials together; None if nobody knows.
            exact: whether they are all spent if no trial is lost, or are an upper bound.
            limits: where it pauses before.
        """
        self._planned, self._limits, self._exact = epochs, limits, exact

    def recall(self, store: Store) -> None:
        """Takes what earlier calls have stored of a study: how far its trials are."""
        self._epochs = 0
        for trial in (*store.trials(), *store.repeats()):
            self._epochs += trial.epochs
            records, distances = store.epochs(trial.number), store.distances(trial.number)
            if records:
                row = self._row(trial)
                row.perplexity = f"{perplexity(records[-1].valid_loss):.2f}"
                row.distance = f"{distances[max(distances)]:.3f}" if distances else ""
                self._note_best(trial, min(record.valid_loss for record in records))

    def on_step(self, trial: Trial, epoch: int, step: int, steps: int, loss: float) -> None:
        """Takes a training step of this process."""
        self._step(trial.number, epoch, step / max(steps, 1))

    def _step(self, number: int, epoch: int, share: float) -> None:
        row = self._rows.get(number)
        if row is not None:
            row.share = share if epoch == row.epoch + 1 else 0.0

    def on_event(self, event: Event) -> None:
        """Takes what a study tells."""
        match event:
            case TrialStepped():
                self._step(event.number, event.epoch, event.step / max(event.steps, 1))
            case TrialRetried(trial=trial):
                self._tell(f"{_name(trial)} is begun anew: {trial.crash}")
            case ScoreFailed(name=name, epoch=epoch, reason=reason):
                self._tell(f"{name} says nothing after epoch {epoch}: {reason}")
            case StudyPaused(reason=reason):
                self.say(f"The study pauses: {reason}. `lsh-native resume` goes on with it.")
            case StudyInterrupted():
                self.say("Interrupted: epochs in flight end first; Ctrl-C once more ends at once.")
            case StudyStarted(resumed=resumed, total=total):
                self._total = total
                if resumed:
                    self._log("Going on with the study in this folder.")
            case TrialProposed(trial=trial):
                self._row(trial).state = "waiting"
                self._log(f"trial {trial.number}: {trial.candidate}")
            case TrialStarted(trial=trial, until=until):
                self._row(trial).state = "running"
                self._row(trial).until = until
                if trial.number == 0 and trial.epochs == 0:
                    self._log(f"trial 0: dense reference, {self._total} epochs")
            case EpochDone(trial=trial, record=record):
                row = self._row(trial)
                row.epoch, row.share, row.seconds = record.epoch, 0.0, record.seconds
                self._epochs += 1
                self._note_best(trial, record.valid_loss)
                row.perplexity = f"{perplexity(record.valid_loss):.2f}"
                self._log(
                    f"{_name(trial)} epoch {record.epoch}: validation perplexity "
                    f"{row.perplexity}, density {record.density:.3f}, {record.seconds:.1f} s"
                )
            case SpectrumDone(trial=trial, record=spectrum):
                row = self._row(trial)
                if row.state == State.RUNNING and row.epoch >= row.until:
                    row.state = str(State.WAITING)
                if spectrum.distance is not None:
                    row.distance = f"{spectrum.distance:.3f}"
                    self._log(
                        f"{_name(trial)} epoch {spectrum.epoch}: distance of spectrum to "
                        f"dense {spectrum.distance:.3f}"
                    )
            case TrialLost(trial=trial):
                self._row(trial).state = str(trial.state)
                self._tell(f"{_name(trial)}: {trial.state}: {trial.reason}")
            case Eliminated(rung=rung, kept=kept, stopped=stopped):
                for number in stopped:
                    if number in self._rows:
                        self._rows[number].state = str(State.STOPPED)
                self._log(
                    f"after epoch {rung.epoch}: trials {_list(kept)} go on, {_list(stopped)} stop"
                )
            case TrialCompleted(trial=trial):
                self._row(trial).state = str(State.COMPLETE)
                self._log(f"{_name(trial)}: complete")
            case PoolExhausted(asked=asked, found=found):
                self._tell(f"the space holds {found} candidates, fewer than the {asked} asked for")

    def _note_best(self, trial: Trial, loss: float) -> None:
        if trial.candidate is not None and (self._best is None or loss < self._best[0]):
            self._best = (loss, trial.number)

    def _row(self, trial: Trial) -> _Row:
        return self._rows.setdefault(trial.number, _Row(trial))

    def _tell(self, line: str) -> None:
        """Logs what the table does not show."""
        if self._live is not None:
            self.say(line)
        self._log(line)

    def _log(self, line: str) -> None:
        if self._live is None:
            elapsed = time.monotonic() - self._started
            self.say(f"[{elapsed:7.1f} s] {line}")

    def _screen(self) -> Table:
        """The table of as many trials as the screen has lines for."""
        rows, height = len(self._rows), self._console.height
        table = self._table(rows=rows)
        while rows > 1 and (lines := self._lines(table)) > height:
            rows = max(1, min(rows - 1, rows * height // lines))  # a trial may take two lines
            table = self._table(rows=rows)
        return table

    def _lines(self, table: Table) -> int:
        return len(self._console.render_lines(table, pad=False))

    def _spending(self) -> str:
        """What was spent, of what may be, and what is left of it."""
        elapsed = time.monotonic() - self._started
        seconds, epochs = f"{elapsed:.0f}", f"{self._epochs}"
        if self._limits.seconds is not None:
            seconds += f" of {self._limits.seconds:g}"
        planned, most = self._planned, self._limits.epochs
        if planned is not None and (most is None or planned <= most):
            bound = "" if self._exact else "at most "
            left = max(0, planned - self._epochs)
            return f"{seconds} s, {epochs} of {bound}{planned} epochs, {bound}{left} left"
        if most is not None:
            left = max(0, most - self._epochs)
            return f"{seconds} s, {epochs} epochs, {left} left until it pauses at {most}"
        return f"{seconds} s, {epochs} epochs"

    def _caption(self, hidden: int) -> str:
        caption = self._spending()
        if self._best is not None:
            caption += f", best so far {perplexity(self._best[0]):.2f} of trial {self._best[1]}"
        if hidden:
            caption += f"\n{hidden} more {'trial' if hidden == 1 else 'trials'} not shown"
        return caption

    def _foremost(self, rows: int) -> list[int]:
        """The trials to show, in order: the best, those that run, the reference, who waits."""
        best = -1 if self._best is None else self._best[1]

        def rank(number: int) -> tuple[bool, bool, bool, bool, int]:
            state = self._rows[number].state
            waits = state == State.WAITING
            return number != best, state != State.RUNNING, number != REFERENCE, not waits, -number

        numbers = sorted(list(self._rows), key=rank)  # a copy: more may come meanwhile
        return sorted(numbers[:rows])

    def _table(self, *, rows: int) -> Table:
        shown = self._foremost(rows)
        everybody = list(self._rows)
        common, texts = told_apart([self._rows[number].trial.candidate for number in everybody])
        apart = dict(zip(everybody, texts, strict=True))
        caption = self._caption(len(self._rows) - len(shown))
        if common:
            caption = f"all candidates: {common}\n{caption}"
        table = Table(caption=caption, caption_justify="left", box=None)
        for name in ("trial", "epoch", "perplexity", "distance"):
            table.add_column(name, justify="right")
        table.add_column("state", no_wrap=True)
        table.add_column("pruning", overflow="fold")
        for number in shown:
            row = self._rows[number]
            table.add_row(
                str(number),
                f"{row.epoch}/{self._total}",
                row.perplexity,
                row.distance,
                row.going() if row.state == State.RUNNING else row.state,
                apart[number],
            )
        return table


def told_apart(candidates: Sequence[Candidate | None]) -> tuple[str, list[str]]:
    """What all candidates have in common, and of each what tells it from the others.

    None is the dense reference, which is no candidate.
    """
    told = [None if c is None else c.to_dict() for c in candidates]
    values = [each for each in told if each is not None]
    names = list(dict.fromkeys(name for each in values for name in each))
    common = {
        name: values[0][name]
        for name in names
        if len(values) > 1 and len({each.get(name) for each in values}) == 1
    }
    texts = [
        "dense reference"
        if each is None
        else ", ".join(_words(name, each[name]) for name in each if name not in common)
        for each in told
    ]
    return ", ".join(_words(name, value) for name, value in common.items()), texts


def _words(name: str, value: Value) -> str:
    """A slot by its choice alone, whatever else by its name too."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value).replace("_", " ")
    alone = name in ("method", "initial", "drop", "grow")
    return text if alone else f"{name.replace('_', ' ')} {text}"


def _name(trial: Trial) -> str:
    if trial.repeats is None:
        return f"trial {trial.number}"
    return f"trial {trial.repeats} with another seed"


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers)) or "none"
