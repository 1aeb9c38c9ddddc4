"""A runner that trains nothing: analytic learning curves, with checkpoints as small files.

As a script it runs one study in a folder: `python synthetic_runner.py FOLDER SECONDS_PER_EPOCH`.
"""

import errno
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lsh_native.search.space import Space
from lsh_native.search.store import Store

if TYPE_CHECKING:
    from lsh_native.search.study import Study

from lsh_native.search.trial import Diverged, EpochRecord, SpectrumRecord, Trial


class SyntheticRunner:
    """Losses follow a floor that the candidate decides, plus noise from a state in the checkpoint.

    The state is a chain: an epoch that is skipped, or trained from another checkpoint, changes
    every loss after it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tick: Callable[[], None] = lambda: None,
        nan: Callable[[Trial, int], bool] = lambda trial, epoch: False,
        faulty: Callable[[Trial, int], bool] = lambda trial, epoch: False,
        before: Callable[[], None] = lambda: None,
        pause: float = 0.0,
    ) -> None:
        self.folder = folder
        self.tick = tick
        self.nan = nan
        self.faulty = faulty
        self.pause = pause
        self.before = before
        self.training = (0, 0)
        self.trained: list[tuple[int, int]] = []

    def run(self, trial: Trial, until: int, record: Callable[[EpochRecord], None]) -> None:
        checkpoint = self._load(trial)
        for epoch in range(trial.epochs + 1, checkpoint["epoch"] + 1):
            record(EpochRecord(**json.loads(self._path(trial, epoch).read_text())["record"]))
        while checkpoint["epoch"] < until:
            epoch = checkpoint["epoch"] + 1
            self.training = (trial.number, epoch)
            self.before()
            if self.faulty(trial, epoch):
                raise Diverged(f"a weight is inf after epoch {epoch}")
            if self.pause:
                time.sleep(self.pause)
            state = (1664525 * checkpoint["state"] + 1013904223) % 2**32
            loss = 4 + quality(trial) + 3 * math.exp(-epoch / 3) + 0.01 * state / 2**32
            self.trained.append((trial.number, epoch))
            self.tick()
            measured = EpochRecord(
                epoch=epoch,
                train_loss=loss - 0.1,
                valid_loss=math.nan if self.nan(trial, epoch) else loss,
                density=1.0 if trial.candidate is None else 0.33,
                tokens=1000,
                seconds=0.5,
                details={"rate": 20.0 / epoch},
            )
            checkpoint = {"epoch": epoch, "state": state, "record": vars(measured)}
            self._save(trial, checkpoint)
            self.tick()
            record(measured)
            self.tick()

    def spectrum(self, trial: Trial, epoch: int, part: int = 0) -> SpectrumRecord | None:
        if part > 2:
            return None
        checkpoint = self._load(trial)
        assert checkpoint["epoch"] == epoch == trial.epochs
        self.tick()
        exponents = -np.linspace(0.5, 3, 8) * (1 + quality(trial)) + checkpoint["state"] / 2**34
        exponents = exponents + 0.01 * part * np.cos(np.arange(8) * (1 + checkpoint["state"] % 5))
        return SpectrumRecord(
            epoch=epoch,
            part=part,
            exponents=exponents.reshape(2, 4),
            standard_errors=np.full((2, 4), 0.01),
            conventions={"state": "full"},
            seconds=0.25,
        )

    def _path(self, trial: Trial, epoch: int) -> Path:
        return self.folder / f"{trial.number}.{epoch}.json"

    def _load(self, trial: Trial) -> dict:
        """The newest checkpoint; none is there that the store is ahead of."""
        epoch = trial.epochs
        while self._path(trial, epoch + 1).exists():
            epoch += 1
        if not epoch:
            return {"epoch": 0, "state": trial.seed}
        return json.loads(self._path(trial, epoch).read_text())

    def _save(self, trial: Trial, checkpoint: dict) -> None:
        partial = self.folder / f"part-{trial.number}"
        partial.write_text(json.dumps(checkpoint))
        os.replace(partial, self._path(trial, checkpoint["epoch"]))


def quality(trial: Trial) -> float:
    """Between 0 and 1; the reference is 0."""
    return int(trial.candidate.identity, 16) / 16**16 if trial.candidate else 0.0


def l2(spectrum: SpectrumRecord, reference: SpectrumRecord) -> float:
    return float(np.linalg.norm(spectrum.exponents - reference.exponents))


def make_study(store: Store, runner: SyntheticRunner, **changes: object) -> "Study":
    """A small study; any argument of `Study` can be changed."""
    # Here, because a worker that loads this file needs none of it and would load it for seconds.
    from lsh_native.search.executors.inline import Inline
    from lsh_native.search.rounds import Elimination
    from lsh_native.search.sampler import RandomSampler
    from lsh_native.search.study import Study

    arguments = {
        "space": Space(),
        "sampler": RandomSampler(),
        "rounds": Elimination(total=6, first=2),
        "candidates": 5,
        "seed": 7,
        "distance": l2,
    }
    return Study(store=store, **{"executor": Inline(runner), **arguments, **changes})


def make(settings: dict, on_step: object) -> SyntheticRunner:
    """The runner of a worker, which does `settings["at"]` once at an epoch of a trial."""
    folder = Path(settings["folder"])

    def accident() -> None:
        number, epoch = runner.training
        wanted = settings.get("accidents", {}).get(f"{number}.{epoch}")
        flag = folder / f"accident-{number}-{epoch}"
        if wanted is None or (flag.exists() and not settings.get("always")):
            return
        flag.touch()
        if wanted == "hang":
            time.sleep(60)
        if wanted == "memory":
            raise MemoryError("nothing left")
        if wanted == "bug":
            raise KeyError("absent")
        if hasattr(errno, wanted):
            raise OSError(getattr(errno, wanted), "the disk says no", str(folder))
        os.kill(os.getpid(), getattr(signal, wanted))

    runner = SyntheticRunner(folder, pause=settings.get("pause", 0.0), before=accident)
    return runner


def main() -> None:
    folder, pause = Path(sys.argv[1]), float(sys.argv[2])
    with Store(folder / "study.db") as store:
        print("started", flush=True)
        make_study(store, SyntheticRunner(folder, pause=pause)).run()


if __name__ == "__main__":
    main()
