"""One pool of candidates, all trained to the end under several seeds: the table of rivals.

    python -m bench.search.record study.toml --data FOLDER --output table.jsonl.gz --seeds 5

trains every candidate of the space of `study.toml`, and a dense reference, once a seed, and
writes a line of JSON for each: losses of every epoch, and at some epochs the full spectrum and the
published one. Candidates of one seed stand together, the dense network first. A file that is there
is gone on with. `bench.search.rivals` reads it.
"""

import argparse
import gzip
import json
import os
import tempfile
import time
import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lsh_native.cli.data import DataSettings, load_corpus
from lsh_native.search.candidate import Candidate
from lsh_native.search.race import trial_seed
from lsh_native.search.space import Space
from lsh_native.search.training_runner import SpectrumSettings, TrainingRunner
from lsh_native.search.trial import EpochRecord, SpectrumRecord, Trial
from lsh_native.training import Recipe, evaluate

# Epochs after which spectra are taken; the dense network's are taken after all.
RUNGS = (1, 2, 3, 4, 5, 6, 7)

SPECTRA: Mapping[str, SpectrumSettings] = {
    "full": SpectrumSettings(steps=100, sequences=8),
    "lsh2022": SpectrumSettings(sequences=2, reference="lsh2022"),
}
"""The two conventions: the product's at the length that leading exponents need, the published."""


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the lines of a table, and the bytes they take: a last one that a kill tore is not."""
    lines, data = [], path.read_bytes()
    left = data
    while left:
        member = zlib.decompressobj(wbits=31)  # each line is a gzip member of its own
        try:
            text = member.decompress(left)
        except zlib.error:
            break
        if not member.eof:
            break
        lines.append(json.loads(text))
        left = member.unused_data
    return lines, len(data) - len(left)


def train(runners: Mapping[str, TrainingRunner], trial: Trial) -> dict[str, Any]:
    """Train one candidate to the end and return its line."""
    epochs: list[EpochRecord] = []
    taken: dict[str, dict[int, SpectrumRecord]] = {name: {} for name in runners}
    runner = next(iter(runners.values()))
    total = runner.recipe.epochs
    for epoch in range(1, total + 1):
        runner.run(replace(trial, epochs=len(epochs)), epoch, epochs.append)
        if trial.candidate is None or epoch in RUNGS:
            for name, each in runners.items():
                record = each.spectrum(replace(trial, epochs=epoch), epoch)
                assert record is not None
                taken[name][epoch] = record
    trainer = runner.trainer(trial)
    recipe = runner.recipe
    test = evaluate(
        trainer.model,
        runner.corpus.test,
        batch_size=recipe.evaluation_batch_size,
        window=recipe.window,
    )
    return {
        "candidate": None if trial.candidate is None else trial.candidate.to_dict(),
        "train": [round(e.train_loss, 5) for e in epochs],
        "valid": [round(e.valid_loss, 5) for e in epochs],
        "test": round(test, 5),
        "train_seconds": round(sum(e.details["train_seconds"] for e in epochs), 2),
        "seconds": round(sum(e.seconds for e in epochs), 2),
        "spectrum_seconds": {
            name: round(sum(r.seconds for r in records.values()) / len(records), 3)
            for name, records in taken.items()
        },
        "spectra": {
            name: {epoch: _rounded(record) for epoch, record in records.items()}
            for name, records in taken.items()
        },
    }


def _rounded(record: SpectrumRecord) -> list[float]:
    return [round(float(x), 4) if abs(x) < 1e6 else -1e9 for x in record.exponents.ravel()]


def _conventions(runner: TrainingRunner, trial: Trial) -> dict[str, Any]:
    record = runner.spectrum(replace(trial, epochs=1), 1)
    assert record is not None
    return dict(record.conventions)


def main() -> None:
    """Train what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="TOML of `lsh-native search` with a finite space")
    parser.add_argument("--data", type=Path, help="folder of text; the generated text without it")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--until", type=float, help="start no training after this Unix time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = tomllib.loads(options.study.read_text(encoding="utf-8"))
    corpus = load_corpus(options.data, DataSettings(**study.get("text", {})))
    space = Space.from_dict(study["space"])
    with tempfile.TemporaryDirectory() as folder:

        def runners(seed: int) -> dict[str, TrainingRunner]:
            return {
                name: TrainingRunner(
                    corpus=corpus,
                    recipe=Recipe(**study["recipe"]),
                    density=1 - study["sparsity"],
                    folder=Path(folder) / str(seed),
                    spectrum_settings=settings,
                )
                for name, settings in SPECTRA.items()
            }

        if not options.output.exists():
            probe = Trial(number=0, candidate=None, seed=0)
            made = runners(-1)
            next(iter(made.values())).run(probe, 1, lambda record: None)
            header = {
                "study": study,
                "corpus": corpus.hash,
                "conventions": {name: _conventions(r, probe) for name, r in made.items()},
            }
            _append(options.output, header)
        (header, *lines), whole = read_lines(options.output)
        os.truncate(options.output, whole)
        if header["study"] != study or header["corpus"] != corpus.hash:
            raise SystemExit(f"{options.output} must be a table of this study, got another one's")
        done = {(line["seed"], line["number"]) for line in lines}
        pool: list[Candidate | None] = [None, *space]
        for seed in range(options.seeds):
            made = runners(seed)
            for number, candidate in enumerate(pool):
                if (seed, number) in done:
                    continue
                if options.until and time.time() > options.until:
                    return
                trial = Trial(number=number, candidate=candidate, seed=trial_seed(seed, number))
                line = {"seed": seed, "number": number, **train(made, trial)}
                _append(options.output, line)
                made["full"].checkpoint(number).unlink()
                print(seed, number, line["valid"][-1], line["seconds"], flush=True)


def _append(path: Path, line: dict[str, Any]) -> None:
    """Write a line as a gzip member of its own, on disk before the next training starts."""
    text = json.dumps(line, separators=(",", ":")) + "\n"
    with path.open("ab") as file:
        file.write(gzip.compress(text.encode()))
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
