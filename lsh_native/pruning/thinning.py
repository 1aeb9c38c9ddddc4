"""Published methods that keep their first masks, or start dense and only lose connections.

Moments (`every`, `until`, …) are in optimizer steps, or shares of a training where they are floats.
"""

from functools import partial
from typing import Final

from lsh_native.pruning.between import Between, GroupLasso, Rewind
from lsh_native.pruning.course import Value
from lsh_native.pruning.criterion import (
    Drop,
    DropLowest,
    Grow,
    global_magnitude,
    magnitude,
    random_growth,
)
from lsh_native.pruning.derived import Slots, derived
from lsh_native.pruning.lattice.score import LatticeScore
from lsh_native.pruning.method import PruningMethod
from lsh_native.pruning.schedule import CubicDensity, Never, Once, Rounds
from lsh_native.pruning.structure import Structure
from lsh_native.pruning.units import Units, unit_norm
from lsh_native.sparsity.mask import Distribution, everything, uniform

FREE: Final = Structure()
NOTHING: Final = Between()


def dense() -> PruningMethod:
    """Keep every connection, whatever the density of the topology."""
    return PruningMethod(initial=everything)


def static(
    *, initial: Distribution = uniform, first: Grow = random_growth, structure: Structure = FREE
) -> PruningMethod:
    """Keep the first masks, drawn at random.

    `first=GrowHighest(score=given(scores))` keeps the connections of highest score instead, for
    example those of `jacobian_sensitivity`.
    """
    return PruningMethod(initial=initial, first=first, schedule=Never(), structure=structure)


def one_shot(
    *,
    initial: Distribution = uniform,
    drop: Drop = global_magnitude,
    moment: int | float = 0.5,
    structure: Structure = FREE,
) -> PruningMethod:
    """Train dense until a moment, then drop the smallest weights at once.

    Source: S. Han et al., "Learning both weights and connections for efficient neural networks",
    2015.
    """
    schedule = Once(moment=moment)
    return PruningMethod(initial=initial, schedule=schedule, drop=drop, structure=structure)


def gradual_magnitude(
    *,
    initial: Distribution = uniform,
    drop: Drop = magnitude,
    initial_density: float = 1.0,
    every: int = 100,
    begin: int | float = 0,
    until: int | float = 0.75,
    structure: Structure = FREE,
    between: Between = NOTHING,
) -> PruningMethod:
    """Start dense and drop the smallest weights along a cubic.

    Source: M. Zhu and S. Gupta, "To prune, or not to prune", 2017.
    """
    return PruningMethod(
        initial=initial,
        schedule=CubicDensity(initial=initial_density, every=every, begin=begin, until=until),
        drop=drop,
        structure=structure,
        between=between,
    )


def lottery_ticket(
    *,
    every: int,
    keep: float = 0.8,
    rewind_to: int | float = 0,
    drop: Drop = magnitude,
    begin: int | float = 0,
    until: int | float = 1.0,
) -> PruningMethod:
    """Train in rounds; after each keep the largest weights and put them back to where they were.

    `every` is a whole training. Only the weights of the topology go back; biases and the like train
    on. The optimizer forgets the weights that go back.

    Source: J. Frankle and M. Carbin, "The lottery ticket hypothesis", 2019.
    """
    schedule = Rounds(keep=keep, every=every, begin=begin, until=until)
    return PruningMethod(schedule=schedule, drop=drop, between=Rewind(moment=rewind_to))


@derived(gradual_magnitude)
def whole_units(*, shrink: Value = 0.0, gates: int = 4) -> Slots:
    """Remove hidden units of smallest norm with all their weights, along a cubic from dense.

    Counts stay exact, so one unit may be removed in part. Weights of no unit go last.

    Source: W. Wen et al., "Learning intrinsic sparse structures within LSTM", 2018 (ISS); `shrink`
    is its group lasso, the coefficient times the learning rate.
    """
    units = Units(gates=gates)
    return {
        "drop": DropLowest(score=partial(unit_norm, units=units), overall=True),
        "between": GroupLasso(shrink=shrink, units=units) if shrink else NOTHING,
    }


@derived(gradual_magnitude)
def lattice(*, power: float = 1.0) -> Slots:
    """Start dense and drop the connections between the least irreducible units along a cubic.

    `power` is the exponent of |w| beside the units' scores. The schedule and the score are this
    library's; see `lsh_native.pruning.lattice.score`.

    Source: R. Sengupta, "Lattice-based pruning in recurrent neural networks via poset modeling",
    2025, for the idea.
    """
    return {"drop": DropLowest(score=LatticeScore(power=power))}
