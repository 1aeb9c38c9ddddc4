"""Published pruning methods as records of slots, with their published defaults.

Moments (`every`, `until`, …) are in optimizer steps, or shares of a training where they are floats.
A fraction may be a number, which then falls along the method's own course, or a course.
"""

from dataclasses import replace
from functools import partial
from typing import Final

from lsh_native.pruning.between import (
    Between,
    GroupLasso,
    Langevin,
    Reserve,
    Rewind,
    SmoothedGradient,
)
from lsh_native.pruning.course import Cosine, Linear, Pieces, Value
from lsh_native.pruning.criterion import (
    Drop,
    DropLowest,
    Grow,
    GrowHighest,
    global_magnitude,
    gradient_growth,
    magnitude,
    magnitude_growth,
    outranked,
    path_growth,
    random_growth,
    set_drop,
    sign_flip,
    threshold,
    unexplored_growth,
)
from lsh_native.pruning.lattice.score import LatticeScore
from lsh_native.pruning.method import PruningMethod
from lsh_native.pruning.redistribution import (
    Redistribution,
    keep_counts,
    mean_gradient,
    nonzeros,
    return_dropped,
)
from lsh_native.pruning.schedule import (
    CosineDrop,
    CubicDensity,
    Never,
    Once,
    Rounds,
    Schedule,
    Updates,
)
from lsh_native.pruning.score import paths, relative_importance, saliency
from lsh_native.pruning.structure import FanIn, Gates, Structure
from lsh_native.pruning.units import Units, unit_norm
from lsh_native.sparsity.mask import (
    Distribution,
    erdos_renyi,
    erdos_renyi_kernel,
    everything,
    uniform,
)

MEST_FRACTION: Final = Pieces((0.4, 0.02), (0.7, 0.01), (1.0, 0.0))
CHTS_TEMPERATURE: Final = Linear(1.0, 3.0)


def dense() -> PruningMethod:
    """Keep every connection, whatever the density of the topology."""
    return PruningMethod(initial=everything)


def static(*, initial: Distribution = uniform, structure: Structure | None = None) -> PruningMethod:
    """Keep the first masks, drawn at random."""
    return PruningMethod(initial=initial, schedule=Never(), structure=structure or Structure())


def dynamic(
    *,
    initial: Distribution = uniform,
    drop: Drop = magnitude,
    grow: Grow = random_growth,
    redistribute: Redistribution = keep_counts,
    drop_fraction: Value = 0.5,
    final_drop_fraction: float = 0.005,
    every: int,
    begin: int | float = 0,
    until: int | float = 1.0,
    structure: Structure | None = None,
) -> PruningMethod:
    """Drop and grow at constant density: the method that the published search ranges over.

    Source: Zheng and Shlizerman, "Hyperpruning", 2025 (arXiv 2506.07975), with exact counts.
    """
    return PruningMethod(
        initial=initial,
        schedule=_falling(drop_fraction, final_drop_fraction, every, until, begin),
        drop=drop,
        grow=grow,
        redistribute=redistribute,
        structure=structure or Structure(),
    )


def one_shot(
    *,
    initial: Distribution = uniform,
    drop: Drop = global_magnitude,
    moment: int | float = 0.5,
    structure: Structure | None = None,
) -> PruningMethod:
    """Train dense until a moment, then drop the smallest weights at once.

    Source: S. Han et al., "Learning both weights and connections for efficient neural networks",
    2015.
    """
    return PruningMethod(
        initial=initial,
        schedule=Once(moment=moment),
        drop=drop,
        structure=structure or Structure(),
    )


def gradual_magnitude(
    *,
    initial: Distribution = uniform,
    drop: Drop = magnitude,
    initial_density: float = 1.0,
    every: int = 100,
    begin: int | float = 0,
    until: int | float = 0.75,
    structure: Structure | None = None,
) -> PruningMethod:
    """Start dense and drop the smallest weights along a cubic.

    Source: M. Zhu and S. Gupta, "To prune, or not to prune", 2017.
    """
    return PruningMethod(
        initial=initial,
        schedule=CubicDensity(initial=initial_density, every=every, begin=begin, until=until),
        drop=drop,
        structure=structure or Structure(),
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

    Only the weights of the topology go back; biases and the like train on. The optimizer forgets
    the weights that go back.

    Source: J. Frankle and M. Carbin, "The lottery ticket hypothesis", 2019.
    """
    return PruningMethod(
        schedule=Rounds(keep=keep, every=every, begin=begin, until=until),
        drop=drop,
        between=Rewind(moment=rewind_to),
    )


def set_(
    *,
    drop_fraction: Value = 0.3,
    every: int,
    begin: int | float = 0,
    until: int | float = 1.0,
    initial: Distribution = erdos_renyi,
) -> PruningMethod:
    """Drop the weights of both signs closest to zero, grow at random; a constant fraction.

    Source: D. C. Mocanu et al., Nature Communications 9, 2383, 2018 (SET); `every` was an epoch.
    """
    return PruningMethod(
        initial=initial,
        schedule=Updates(fraction=drop_fraction, every=every, begin=begin, until=until),
        drop=set_drop,
        grow=random_growth,
    )


def deep_rewiring(
    *,
    shrink: Value = 1e-7,
    noise: Value = 0.0,
    every: int = 1,
    until: int | float = 1.0,
    initial: Distribution = uniform,
) -> PruningMethod:
    """Walk at random with an L1 penalty; a weight that leaves its sign makes room for a random one.

    `shrink` and `noise` are steps, so they hold the learning rate; see `Langevin`.

    Source: G. Bellec et al., "Deep rewiring", 2018 (DeepR).
    """
    return PruningMethod(
        initial=initial,
        schedule=Updates(every=every, until=until),
        drop=sign_flip,
        grow=random_growth,
        redistribute=return_dropped,
        between=Langevin(shrink=shrink, noise=noise),
    )


def dynamic_sparse_reparameterization(
    *,
    drop_fraction: Value = 0.1,
    start_threshold: float = 1e-3,
    every: int = 1000,
    until: int | float = 1.0,
    initial: Distribution = uniform,
) -> PruningMethod:
    """Drop below one adaptive threshold, grow at random in proportion to what each matrix kept.

    Source: H. Mostafa and X. Wang, "Parameter efficient training of deep convolutional neural
    networks by dynamic sparse reparameterization", 2019 (DSR); its target was a number of weights.
    """
    return PruningMethod(
        initial=initial,
        schedule=Updates(fraction=drop_fraction, every=every, until=until),
        drop=partial(threshold, start=start_threshold, tolerance=0.1),
        grow=random_growth,
        redistribute=nonzeros,
    )


def sparse_momentum(
    *,
    drop_fraction: Value = 0.5,
    smoothing: Value = 0.9,
    every: int,
    begin: int | float = 0,
    until: int | float = 1.0,
    initial: Distribution = uniform,
) -> PruningMethod:
    """Drop the smallest weights, grow where momentum is largest, most where its mean is.

    The momentum is a running mean of dense gradients, which are read at every step.

    Source: T. Dettmers and L. Zettlemoyer, "Sparse networks from scratch", 2019 (SNFS); `every`
    was an epoch.
    """
    return PruningMethod(
        initial=initial,
        schedule=_falling(drop_fraction, 0.005, every, until, begin),
        drop=magnitude,
        grow=gradient_growth,
        redistribute=mean_gradient,
        between=SmoothedGradient(smoothing=smoothing),
    )


def rigl(
    *,
    initial: Distribution = erdos_renyi_kernel,
    drop_fraction: Value = 0.3,
    every: int = 100,
    until: int | float = 0.75,
    structure: Structure | None = None,
) -> PruningMethod:
    """Drop the smallest weights, grow the largest gradients.

    Source: U. Evci et al., "Rigging the lottery", 2020.
    """
    return PruningMethod(
        initial=initial,
        schedule=_falling(drop_fraction, 0.0, every, until),
        drop=magnitude,
        grow=gradient_growth,
        structure=structure or Structure(),
    )


def top_kast(
    *,
    extra: Value = 0.1,
    decay: Value = 0.0,
    every: int = 1,
    until: int | float = 1.0,
    initial: Distribution = uniform,
) -> PruningMethod:
    """Use the largest weights, train some more besides, and look again who is largest.

    Source: S. Jayakumar et al., "Top-KAST", 2020; density D is the topology's, M is `extra`.
    """
    return PruningMethod(
        initial=initial,
        schedule=Updates(every=every, until=until),
        first=magnitude_growth,
        drop=outranked,
        grow=magnitude_growth,
        redistribute=return_dropped,
        between=Reserve(extra=extra, decay=decay),
    )


def selfish(
    *,
    drop_fraction: Value = 0.8,
    every: int,
    begin: int | float = 0,
    until: int | float = 1.0,
    initial: Distribution = uniform,
    gates: int | None = None,
    redistribute: Redistribution = keep_counts,
) -> PruningMethod:
    """Drop the smallest weights of each matrix, whose gates compete, and grow at random.

    Args:
        drop_fraction: At the start, falling along a cosine; 0.8 for the LSTM, 0.5 for the RHN.
        every: Steps between updates; an epoch as published.
        begin: Moment from which steps are counted.
        until: Moment at which the topology stops to change.
        initial: How many connections each matrix has.
        gates: Gates in a recurrent matrix that share by `redistribute` what grows, each dropping
            its own fraction; None for gates that compete by magnitude.
        redistribute: How matrices, or gates, share what grows.

    Source: S. Liu et al., "Selfish sparse RNN training", 2021; train with
    `lsh_native.training.AveragedSGD`, its SNT-ASGD.
    """
    return PruningMethod(
        initial=initial,
        schedule=_falling(drop_fraction, 0.005, every, until, begin),
        drop=magnitude,
        grow=random_growth,
        redistribute=redistribute,
        structure=Structure() if gates is None else Gates(gates=gates),
    )


def in_time(
    *,
    drop_fraction: Value = 0.5,
    every: int = 1500,
    until: int | float = 1.0,
    initial: Distribution = erdos_renyi_kernel,
    grow: Grow = unexplored_growth,
) -> PruningMethod:
    """Drop and grow rarely, so that what grows can mature; grow what was never live first.

    Source: S. Liu et al., "Do we actually need dense over-parameterization?", 2021 (ITOP): 1500
    steps with random growth, 4000 with growth by gradients.
    """
    return PruningMethod(
        initial=initial,
        schedule=_falling(drop_fraction, 0.0, every, until),
        drop=magnitude,
        grow=grow,
    )


def granet(
    *,
    initial_density: float = 0.5,
    drop_fraction: Value = 0.5,
    every: int = 1000,
    until: int | float = 0.75,
    initial: Distribution = erdos_renyi_kernel,
    drop: Drop = global_magnitude,
) -> PruningMethod:
    """Lose the smallest weights of all along a cubic; after each loss drop and regrow by gradient.

    Source: S. Liu et al., "Sparse training via boosting pruning plasticity with neuroregeneration",
    2021 (GraNet).
    """
    fraction = drop_fraction if callable(drop_fraction) else Cosine(drop_fraction, 0.005)
    return PruningMethod(
        initial=initial,
        schedule=Updates(
            fraction=fraction, density_at_begin=initial_density, every=every, until=until
        ),
        shrink=drop,
        drop=magnitude,
        grow=gradient_growth,
        redistribute=return_dropped,
    )


def mest(
    *,
    drop_fraction: Value = MEST_FRACTION,
    gradient_weight: Value = 0.01,
    every: int = 1000,
    until: int | float = 1.0,
    initial: Distribution = uniform,
    initial_density: float | None = None,
) -> PruningMethod:
    """Drop the smallest |w| + λ |gradient|, grow at random, less and less.

    With an `initial_density` above the final one the memory bound is soft: the topology begins
    with more and loses the surplus.

    Source: G. Yuan et al., "MEST", 2021; the shares of the training at which the fraction falls
    are ours.
    """
    return PruningMethod(
        initial=initial,
        schedule=Updates(
            fraction=drop_fraction, density_at_begin=initial_density, every=every, until=until
        ),
        drop=DropLowest(score=partial(saliency, gradient_weight=gradient_weight)),
        grow=random_growth,
    )


def structured_rigl(
    *,
    ablate: Value = 0.3,
    drop_fraction: Value = 0.3,
    every: int = 100,
    until: int | float = 0.75,
    initial: Distribution = erdos_renyi_kernel,
) -> PruningMethod:
    """RigL under constant fan-in, where rows of little worth fall out of use.

    Source: M. Lasby et al., "Dynamic sparse training with structured sparsity", 2024 (SRigL).
    """
    return rigl(
        initial=initial,
        drop_fraction=drop_fraction,
        every=every,
        until=until,
        structure=FanIn(ablate=ablate),
    )


def cannistraci_hebb(
    *,
    drop_fraction: Value = 0.3,
    every: int,
    begin: int | float = 0,
    until: int | float = 1.0,
    initial: Distribution = erdos_renyi,
) -> PruningMethod:
    """Drop the smallest weights, grow the links that close most paths of length three.

    Growth by paths reads no gradient. See `lsh_native.pruning.score.paths` for the score.

    Source: Y. Zhang et al., "Epitopological learning and Cannistraci-Hebb network shape
    intelligence", 2024 (CHT); `every` was an epoch.
    """
    return PruningMethod(
        initial=initial,
        schedule=Updates(fraction=drop_fraction, every=every, begin=begin, until=until),
        drop=magnitude,
        grow=path_growth,
    )


def soft_cannistraci_hebb(
    *,
    temperature: Value = CHTS_TEMPERATURE,
    drop_fraction: Value = 0.3,
    every: int,
    begin: int | float = 0,
    until: int | float = 1.0,
    initial: Distribution = erdos_renyi,
) -> PruningMethod:
    """Draw what goes by relative importance and what comes by paths, ever more strictly.

    Source: Y. Zhang et al., "Brain network science modelling of sparse neural networks", 2025
    (CHTs).
    """
    method = cannistraci_hebb(
        drop_fraction=drop_fraction, every=every, begin=begin, until=until, initial=initial
    )
    return replace(
        method,
        drop=DropLowest(score=partial(relative_importance, temperature=temperature)),
        grow=GrowHighest(score=partial(paths, temperature=1.0)),
    )


def whole_units(
    *,
    shrink: Value = 0.0,
    gates: int = 4,
    every: int = 100,
    begin: int | float = 0,
    until: int | float = 0.75,
) -> PruningMethod:
    """Remove hidden units of smallest norm with all their weights, along a cubic from dense.

    Counts stay exact, so one unit may be removed in part. Weights of no unit go last.

    Source: W. Wen et al., "Learning intrinsic sparse structures within LSTM", 2018 (ISS); `shrink`
    is its group lasso, the coefficient times the learning rate.
    """
    units = Units(gates=gates)
    return PruningMethod(
        schedule=CubicDensity(every=every, begin=begin, until=until),
        drop=DropLowest(score=partial(unit_norm, units=units), overall=True),
        between=GroupLasso(shrink=shrink, units=units) if shrink else Between(),
    )


def scored(score: GrowHighest, *, initial: Distribution = uniform) -> PruningMethod:
    """Keep, from the start and for good, the connections of highest score.

    Args:
        score: For example `GrowHighest(score=given(jacobian_sensitivity(…)))`.
        initial: How many connections each matrix has.
    """
    return PruningMethod(initial=initial, first=score)


def _falling(
    fraction: Value,
    final: float,
    every: int,
    until: int | float,
    begin: int | float = 0,
) -> Schedule:
    """A fraction that falls along a cosine, or follows its own course."""
    if callable(fraction):
        return Updates(fraction=fraction, every=every, begin=begin, until=until)
    return CosineDrop(initial=fraction, final=final, every=every, begin=begin, until=until)


def lattice(
    *,
    initial: Distribution = uniform,
    power: float = 1.0,
    initial_density: float = 1.0,
    every: int = 100,
    begin: int | float = 0,
    until: int | float = 0.75,
) -> PruningMethod:
    """Start dense and drop the connections between the least irreducible units along a cubic.

    `power` is the exponent of |w| beside the units' scores. The schedule and the score are this
    library's; see `lsh_native.pruning.lattice.score`.

    Source: R. Sengupta, "Lattice-based pruning in recurrent neural networks via poset modeling",
    2025, for the idea.
    """
    return gradual_magnitude(
        initial=initial,
        drop=DropLowest(score=LatticeScore(power=power)),
        initial_density=initial_density,
        every=every,
        begin=begin,
        until=until,
    )
