"""The leads that a first experiment left, measured as docs/results/rivals/README.md said before.

For a score at an epoch: Spearman's rank correlation with the lowest validation perplexity of the
same training, over all candidates, mean over the seeds of training. Its interval is of a bootstrap
over candidates, the same resamples for all seeds. The tests of both corpora share an error of 5 %.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.search.record import RUNGS
from bench.search.table import Table
from lsh_native.search.score import SCORES, evaluate
from lsh_native.search.spectral import spectrum_distance
from lsh_native.search.trial import EpochRecord, Measurement, Pool

LEADS = ("lyapunov_last_layer", "lyapunov_leading")
EPOCHS = (2, 3)
TESTS = 2 * len(LEADS) * len(EPOCHS)
"""Two corpora."""

BESIDE = (
    "loss",
    "lyapunov",
    "rank_mean",
    "training_losses",
    "lyapunov_mean",
    "lyapunov_wasserstein",
    "surrogate",
)
"""Scores shown beside the leads; no hypothesis is tested on them."""

RESAMPLES = 10_000

Values = NDArray[np.float64]


def measure_leads(table: Table) -> dict[str, Any]:
    """Return correlations, differences to the loss, and what the rules say of the leads."""
    finals = np.array([[table.final(s, c) for c in table.pool] for s in table.seeds])
    chosen = np.random.default_rng(0).integers(len(table.pool), size=(RESAMPLES, len(table.pool)))
    found: dict[str, Any] = {}
    epochs = [e for e in sorted({*EPOCHS, *RUNGS}) if e <= table.total]
    for epoch in epochs:
        losses = _scores(table, "loss", epoch)
        for name in (*LEADS, *BESIDE, "lsh2022"):
            values = _scores(table, name, epoch)
            tested = name in LEADS and epoch in EPOCHS
            level = 0.05 / TESTS if tested else 0.05
            own, resampled = _correlations(values, finals, chosen)
            rival, resampled_rival = _correlations(losses, finals, chosen)
            row: dict[str, Any] = {
                "correlation": own.mean(),
                "interval": _interval(resampled, level),
                "seeds": own.round(3).tolist(),
                "over the loss": own.mean() - rival.mean(),
                "interval over the loss": _interval(resampled - resampled_rival, level),
                "level": 1 - level,
            }
            if tested:
                row["confirmed"] = bool(row["interval"][0] > 0)
                row["better than the loss"] = bool(row["interval over the loss"][0] > 0)
            found.setdefault(str(epoch), {})[name] = row
    return found


def _scores(table: Table, name: str, epoch: int) -> Values:
    """(seeds, candidates); `lsh2022` is the distance of published spectra."""
    spectra = "lsh2022" if name == "lsh2022" else "full"
    score = SCORES["lyapunov" if name == "lsh2022" else name]
    rows = []
    for seed in table.seeds:
        dense = table.spectrum(seed, None, spectra, epoch)
        measurements = []
        for number, candidate in enumerate(table.pool, start=1):
            line = table.line(seed, candidate)
            spectrum = table.spectrum(seed, candidate, spectra, epoch)
            records = tuple(
                EpochRecord(
                    epoch=e,
                    train_loss=line["train"][e - 1],
                    valid_loss=line["valid"][e - 1],
                    density=0.33,
                    tokens=1,
                    seconds=0.0,
                )
                for e in range(1, epoch + 1)
            )
            measurements.append(
                Measurement(
                    number=number,
                    candidate=candidate,
                    epochs=records,
                    distance=spectrum_distance(spectrum, dense),
                    spectrum=spectrum,
                )
            )
        pool = Pool(
            measurements=tuple(measurements), epoch=epoch, total=table.total, dense={epoch: dense}
        )
        rows.append(evaluate(name, score, pool))
    return np.array(rows)


def _correlations(
    values: Values, finals: Values, chosen: NDArray[np.int64]
) -> tuple[Values, Values]:
    """Return Spearman's correlation of each seed, and their mean in each resample."""
    own = np.array([_spearman(v[None], f[None])[0] for v, f in zip(values, finals, strict=True)])
    resampled = np.mean(
        [_spearman(v[chosen], f[chosen]) for v, f in zip(values, finals, strict=True)], axis=0
    )
    return own, resampled


def _spearman(left: Values, right: Values) -> Values:
    a, b = (rankdata(side, axis=1) for side in (left, right))
    a, b = (side - side.mean(axis=1, keepdims=True) for side in (a, b))
    scale = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
    result: Values = (a * b).sum(axis=1) / np.where(scale > 0, scale, np.inf)
    return result


def _interval(resampled: Values, level: float) -> list[float]:
    return [float(x) for x in np.quantile(resampled, [level / 2, 1 - level / 2])]
