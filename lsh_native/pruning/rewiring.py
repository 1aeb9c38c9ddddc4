"""Published methods that drop and grow, as variants of one, with their published defaults.

Moments (`every`, `until`, …) are in optimizer steps, or shares of a training where they are floats.
An `every` without a default was an epoch, unless a method says otherwise. A drop fraction may be a
number, which then falls along the method's own course, or a course.
"""

from functools import partial
from typing import Final

from lsh_native.pruning.between import (
    Between,
    Langevin,
    Reserve,
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
from lsh_native.pruning.derived import Slots, derived
from lsh_native.pruning.groups import FanIn
from lsh_native.pruning.method import PruningMethod
from lsh_native.pruning.redistribution import (
    Redistribution,
    keep_counts,
    mean_gradient,
    nonzeros,
    return_dropped,
)
from lsh_native.pruning.schedule import CosineDrop, Updates
from lsh_native.pruning.score import paths, relative_importance, saliency
from lsh_native.pruning.structure import Gates, Structure
from lsh_native.sparsity.mask import (
    Distribution,
    erdos_renyi,
    erdos_renyi_kernel,
    uniform,
)

FREE: Final = Structure()
NOTHING: Final = Between()


def dynamic(
    *,
    initial: Distribution = uniform,
    first: Grow = random_growth,
    shrink: Drop | None = None,
    drop: Drop = magnitude,
    grow: Grow = random_growth,
    redistribute: Redistribution = keep_counts,
    drop_fraction: Value = 0.5,
    final_drop_fraction: float | None = 0.005,
    initial_density: float | None = None,
    every: int,
    begin: int | float = 0,
    until: int | float = 1.0,
    structure: Structure = FREE,
    between: Between = NOTHING,
) -> PruningMethod:
    """Drop and grow: the method that the published search ranges over.

    A drop fraction that is a number falls to the final one along a cosine, or stays where that is
    None. The density is constant, or falls from the initial one along a cubic.

    Source: Zheng and Shlizerman, "Hyperpruning", 2025 (arXiv 2506.07975), with exact counts.
    """
    schedule: CosineDrop | Updates
    if callable(drop_fraction) or final_drop_fraction is None or initial_density is not None:
        if not callable(drop_fraction) and final_drop_fraction is not None:
            drop_fraction = Cosine(drop_fraction, final_drop_fraction)
        schedule = Updates(
            fraction=drop_fraction,
            density_at_begin=initial_density,
            every=every,
            begin=begin,
            until=until,
        )
    else:
        schedule = CosineDrop(
            initial=drop_fraction, final=final_drop_fraction, every=every, begin=begin, until=until
        )
    return PruningMethod(
        initial=initial,
        first=first,
        schedule=schedule,
        shrink=shrink,
        drop=drop,
        grow=grow,
        redistribute=redistribute,
        structure=structure,
        between=between,
    )


@derived(dynamic, initial=erdos_renyi, drop=set_drop, drop_fraction=0.3, final_drop_fraction=None)
def set_() -> Slots:
    """Drop the weights of both signs closest to zero, grow at random; a constant fraction.

    Source: D. C. Mocanu et al., Nature Communications 9, 2383, 2018 (SET).
    """
    return {}


@derived(dynamic, every=1)
def deep_rewiring(*, shrink: Value = 5e-6, noise: Value = 5e-6) -> Slots:
    """Walk at random with an L1 penalty; a weight that leaves its sign makes room for a random one.

    `shrink` and `noise` are steps, so they hold the learning rate; see `Langevin`. The defaults are
    those of the authors' program for MNIST, 10⁻⁵ each times a learning rate of 0.5.

    Source: G. Bellec et al., "Deep rewiring", 2018 (DeepR), and
    https://github.com/guillaumeBellec/deep_rewiring.
    """
    return {
        "drop": sign_flip,
        "drop_fraction": 0.0,
        "final_drop_fraction": None,
        "redistribute": return_dropped,
        "between": Langevin(shrink=shrink, noise=noise),
    }


@derived(dynamic, redistribute=nonzeros, drop_fraction=0.1, final_drop_fraction=None, every=1000)
def dynamic_sparse_reparameterization(
    *, start_threshold: float = 1e-3, tolerance: Value = 0.1
) -> Slots:
    """Drop below one adaptive threshold, grow at random in proportion to what each matrix kept.

    The start of the threshold, the tolerance and the factor two are those of the authors' program.
    Its target is 1 % of all weights, live and dead, which is a drop fraction of 0.1 at density 0.1;
    its interval grew from 100 to 1600 steps, one of 1000 is ours.

    Source: H. Mostafa and X. Wang, "Parameter efficient training of deep convolutional neural
    networks by dynamic sparse reparameterization", 2019 (DSR).
    """
    return {"drop": partial(threshold, start=start_threshold, tolerance=tolerance)}


@derived(dynamic, grow=gradient_growth, redistribute=mean_gradient)
def sparse_momentum(*, smoothing: Value = 0.9) -> Slots:
    """Drop the smallest weights, grow where momentum is largest, most where its mean is.

    The momentum is a running mean of dense gradients, which are read at every step.

    Source: T. Dettmers and L. Zettlemoyer, "Sparse networks from scratch", 2019 (SNFS).
    """
    return {"between": SmoothedGradient(smoothing=smoothing)}


@derived(
    dynamic,
    initial=erdos_renyi_kernel,
    grow=gradient_growth,
    drop_fraction=0.3,
    final_drop_fraction=0.0,
    every=100,
    until=0.75,
)
def rigl() -> Slots:
    """Drop the smallest weights, grow the largest gradients.

    Source: U. Evci et al., "Rigging the lottery", 2020.
    """
    return {}


@derived(dynamic, every=1)
def top_kast(*, extra: Value = 0.1, decay: Value = 0.0) -> Slots:
    """Use the largest weights, train some more besides, and look again who is largest.

    Source: S. Jayakumar et al., "Top-KAST", 2020; density D is the topology's, M is `extra`.
    """
    return {
        "first": magnitude_growth,
        "drop": outranked,
        "drop_fraction": 0.0,
        "final_drop_fraction": None,
        "grow": magnitude_growth,
        "redistribute": return_dropped,
        "between": Reserve(extra=extra, decay=decay),
    }


@derived(dynamic, drop_fraction=0.8)
def selfish(*, gates: int | None = None) -> Slots:
    """Drop the smallest weights of each matrix, whose gates compete, and grow at random.

    The drop fraction starts at 0.8 for the LSTM, at 0.5 for the RHN. With `gates`, the gates of a
    recurrent matrix do not compete: each drops its own fraction, and they share by `redistribute`
    what grows.

    Source: S. Liu et al., "Selfish sparse RNN training", 2021; train with
    `lsh_native.training.AveragedSGD`, its SNT-ASGD.
    """
    return {"structure": FREE if gates is None else Gates(gates=gates)}


@derived(
    dynamic,
    initial=erdos_renyi_kernel,
    grow=unexplored_growth,
    final_drop_fraction=0.0,
    every=1500,
)
def in_time() -> Slots:
    """Drop and grow rarely, so that what grows can mature; grow what was never live first.

    Source: S. Liu et al., "Do we actually need dense over-parameterization?", 2021 (ITOP): 1500
    steps with random growth, 4000 with growth by gradients.
    """
    return {}


@derived(
    dynamic,
    initial=erdos_renyi_kernel,
    shrink=global_magnitude,
    grow=gradient_growth,
    redistribute=return_dropped,
    initial_density=0.5,
    every=1000,
    until=0.75,
)
def granet() -> Slots:
    """Lose the smallest weights of all along a cubic; after each loss drop and regrow by gradient.

    Source: S. Liu et al., "Sparse training via boosting pruning plasticity with neuroregeneration",
    2021 (GraNet).
    """
    return {}


MEST_FRACTION: Final = Pieces((0.4, 0.02), (0.7, 0.01), (1.0, 0.0))


@derived(dynamic, drop_fraction=MEST_FRACTION, final_drop_fraction=None, every=1000)
def mest(*, gradient_weight: Value = 0.01) -> Slots:
    """Drop the smallest |w| + λ |gradient|, grow at random, less and less.

    With an `initial_density` above the final one the memory bound is soft: the topology begins
    with more and loses the surplus.

    Source: G. Yuan et al., "MEST", 2021; the shares of the training at which the fraction falls
    are ours.
    """
    return {"drop": DropLowest(score=partial(saliency, gradient_weight=gradient_weight))}


@derived(rigl)
def structured_rigl(*, ablate: Value = 0.3) -> Slots:
    """RigL under constant fan-in, where rows of little worth fall out of use.

    Source: M. Lasby et al., "Dynamic sparse training with structured sparsity", 2024 (SRigL).
    """
    return {"structure": FanIn(ablate=ablate)}


@derived(
    dynamic, initial=erdos_renyi, grow=path_growth, drop_fraction=0.3, final_drop_fraction=None
)
def cannistraci_hebb() -> Slots:
    """Drop the smallest weights, grow the links that close most paths of length three.

    Growth by paths reads no gradient. See `lsh_native.pruning.score.paths` for the score.

    Source: Y. Zhang et al., "Epitopological learning and Cannistraci-Hebb network shape
    intelligence", 2024 (CHT).
    """
    return {}


@derived(cannistraci_hebb)
def soft_cannistraci_hebb(*, temperature: Value = Linear(1.0, 3.0)) -> Slots:  # noqa: B008 - frozen
    """Draw what goes by relative importance and what comes by paths, ever more strictly.

    Source: Y. Zhang et al., "Brain network science modelling of sparse neural networks", 2025
    (CHTs).
    """
    return {
        "drop": DropLowest(score=partial(relative_importance, temperature=temperature)),
        "grow": GrowHighest(score=partial(paths, temperature=1.0)),
    }
