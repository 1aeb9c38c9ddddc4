"""Exactly k entries of masks: those of lowest or highest score, equal ones by the lower index.

The result depends on the values alone: not on the device, the number of threads or the run. Random
choice is choice by a score that is a hash of a seed and the index, so the same holds for it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lsh_native import native as native  # registers the operators


class NaNError(ValueError):
    """Scores among which nothing can be chosen because some of them are not a number."""


def lowest(scores: Tensor, count: int, among: Tensor | None = None) -> Tensor:
    """Choose the entries with the lowest scores.

    Args:
        scores: Floating-point scores of any shape.
        count: How many to choose.
        among: Bool tensor of the same shape, true where an entry may be chosen; None for all.

    Returns:
        Bool tensor of the same shape, true at exactly `count` entries.

    Raises:
        ValueError: There are fewer than `count` entries to choose from, or shapes differ.
        NaNError: An entry that may be chosen has the score NaN.

    Example:
        >>> lowest(torch.tensor([2.0, 1.0, 1.0, 0.0]), 2)
        tensor([False,  True, False,  True])
    """
    if among is None:
        nothing = torch.zeros_like(scores, dtype=torch.bool)
        return _toggled({"": scores}, {"": nothing}, count, live=False)[""]
    return among ^ _toggled({"": scores}, {"": among}, count, live=True)[""]


def highest(scores: Tensor, count: int, among: Tensor | None = None) -> Tensor:
    """Choose the entries with the highest scores; everything else is as for `lowest`."""
    return lowest(-scores, count, among)


def drop_lowest(
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    count: int,
    *,
    magnitude: bool = False,
) -> dict[str, Tensor]:
    """Masks without the live entries of lowest score of several tensors together.

    Of equal scores the earlier tensor's go first.

    Args:
        scores: Floating-point tensors of one dtype by name.
        masks: Bool tensors of the same shapes; not written.
        count: How many entries of all masks together become false.
        magnitude: Whether the absolute value of a score counts.

    Returns:
        New masks.

    Raises:
        ValueError: There are fewer than `count` live entries, or names, shapes or dtypes differ.
        NaNError: The score of a live entry is NaN.
    """
    return _toggled(scores, masks, count, live=True, magnitude=magnitude)


def grow_highest(
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    count: int,
    *,
    magnitude: bool = False,
) -> dict[str, Tensor]:
    """Masks with the dead entries of highest score added; otherwise as `drop_lowest`."""
    return _toggled(scores, masks, count, live=False, highest=True, magnitude=magnitude)


def grow_random(mask: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """A mask with dead entries added, all choices of so many being equally likely.

    Args:
        mask: Bool tensor; not written.
        count: How many of its false entries become true.
        generator: Source of randomness, on the CPU.

    Raises:
        ValueError: There are fewer than `count` false entries, or the generator is not on the CPU.
    """
    seed = draw_seed(generator)
    return _toggled({}, {"": mask}, count, live=False, seed=seed)[""]


def draw_seed(generator: torch.Generator) -> int:
    """Draw 62 random bits from a generator, which must be on the CPU."""
    if generator.device.type != "cpu":
        raise ValueError(f"the generator must be on the CPU, got one on {generator.device}")
    return int(torch.randint(2**62, (), generator=generator))


def random_keys(size: int, seed: int, device: torch.device | None = None) -> Tensor:
    """The definition of the random scores: a hash of each index in [0, size) under a seed, int64.

    Two rounds of a 32-bit mixer; the first 2³² keys are distinct.
    """
    index = torch.arange(size, device=device)
    first = _mix((index & _LOW) ^ (seed & _LOW))
    return _mix(first ^ ((seed >> 32) & _LOW) ^ (index >> 32))


@torch.no_grad()
def toggle_definition_(
    masks: Sequence[Tensor],
    scores: Sequence[Tensor],
    seed: int,
    count: int,
    live: bool,
    highest: bool,
    magnitude: bool,
) -> Tensor:
    """What `lsh::toggle_` computes, in plain torch.

    Toggles the `count` entries of lowest (or highest) score among the true (or false) entries of
    all masks; nothing if there are fewer or a score is NaN.

    Args:
        masks: Bool tensors, changed in place.
        scores: As many tensors of the same sizes, or none for random ones.
        seed: Of the random ones.
        count: How many entries to toggle.
        live: Whether to choose among the true entries.
        highest: Whether the highest scores go first.
        magnitude: Whether absolute values count.

    Returns:
        (2,) int64: entries there were to choose from, and how many of their scores are NaN.
    """
    eligible = torch.cat([mask.reshape(-1) for mask in masks]) == live
    if scores:
        keys = torch.cat([values.reshape(-1) for values in scores])
        keys = keys.abs() if magnitude else keys
    else:
        keys = random_keys(eligible.numel(), seed, eligible.device)
    values = -keys[eligible] if highest else keys[eligible]
    nans = int(values.isnan().count_nonzero())
    if 0 < count <= values.numel() and not nans:
        # topk, for the CUDA kthvalue is refused under torch.use_deterministic_algorithms
        last = values.topk(count, largest=False, sorted=False).values.max()
        chosen = values < last
        ties = (values == last).nonzero().squeeze(1)
        chosen[ties[: count - int(chosen.count_nonzero())]] = True
        change = torch.zeros_like(eligible)
        change[eligible] = chosen
        for mask, part in zip(masks, change.split([m.numel() for m in masks]), strict=True):
            mask ^= part.view(mask.shape)
    return torch.tensor([values.numel(), nans], device=eligible.device)


if native.libraries.cuda is None:  # a torch with CUDA, but kernels built without
    torch.library.impl("lsh::toggle_", "CUDA", toggle_definition_)


@torch.library.register_fake("lsh::toggle_")
def _(
    masks: Sequence[Tensor],
    scores: Sequence[Tensor],
    seed: int,
    count: int,
    live: bool,
    highest: bool,
    magnitude: bool,
) -> Tensor:
    return torch.empty(2, dtype=torch.int64, device=masks[0].device)


_LOW = 0xFFFFFFFF


def _mix(x: Tensor) -> Tensor:
    x = (x ^ (x >> 16)) * 0x21F0AAAD & _LOW
    x = (x ^ (x >> 15)) * 0x735A2D97 & _LOW
    return x ^ (x >> 15)


def _toggled(
    scores: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    count: int,
    *,
    live: bool,
    highest: bool = False,
    magnitude: bool = False,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Copies of masks with exactly `count` entries toggled; random ones where there are no scores.

    See `toggle_definition_`.
    """
    for name in masks if scores else ():
        if masks[name].shape != scores[name].shape:
            raise ValueError(
                f"scores and masks must have one shape, got {tuple(scores[name].shape)} "
                f"and {tuple(masks[name].shape)}"
            )
    changed = {
        name: mask.clone(memory_format=torch.contiguous_format) for name, mask in masks.items()
    }
    if count < 0 or not masks:
        there = sum(int((mask == live).count_nonzero()) for mask in masks.values())
        _refuse_count(count, there)
        return changed
    eligible, nans = torch.ops.lsh.toggle_.default(
        list(changed.values()),
        [_exact(scores[name]) for name in masks] if scores else [],
        seed,
        count,
        live,
        highest,
        magnitude,
    ).tolist()
    if nans:
        raise NaNError(f"scores must be numbers, got {nans} NaN")
    _refuse_count(count, eligible)
    return changed


def _refuse_count(count: int, eligible: int) -> None:
    if not 0 <= count <= eligible:
        raise ValueError(f"count must be in [0, {eligible}], the entries there, got {count}")


def _exact(scores: Tensor) -> Tensor:
    """Scores as the operator takes them, in a dtype that holds every value."""
    scores = scores.detach().contiguous()
    if scores.dtype in (torch.float32, torch.float64, torch.bfloat16):
        return scores
    return scores.to(torch.float32 if scores.dtype == torch.float16 else torch.float64)
