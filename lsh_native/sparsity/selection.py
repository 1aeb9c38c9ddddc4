"""Exactly k entries of tensors: the lowest or the highest, equal ones by the lower index.

The result depends on the values alone: not on the device, the number of threads or the run.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


class NaNError(ValueError):
    """Scores among which nothing can be chosen because some of them are not a number."""


@torch.no_grad()
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
        return _lowest(scores.reshape(-1), count).view(scores.shape)
    if among.shape != scores.shape:
        raise ValueError(
            f"scores and among must have one shape, got {tuple(scores.shape)} "
            f"and {tuple(among.shape)}"
        )
    chosen = torch.zeros_like(among)
    chosen[among] = _lowest(scores[among], count)
    return chosen


def highest(scores: Tensor, count: int, among: Tensor | None = None) -> Tensor:
    """Choose the entries with the highest scores; everything else is as for `lowest`."""
    return lowest(-scores, count, among)


def lowest_overall(
    scores: Mapping[str, Tensor], count: int, among: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Choose the entries with the lowest scores of several tensors together.

    Of equal scores the earlier tensor's come first. Arguments and errors are those of `lowest`, by
    name.

    Returns:
        Bool tensors by name, true at exactly `count` entries altogether.
    """
    if not scores:
        return {}
    chosen = lowest(
        torch.cat([values.detach().reshape(-1) for values in scores.values()]),
        count,
        torch.cat([among[name].reshape(-1) for name in scores]),
    )
    parts = torch.split(chosen, [values.numel() for values in scores.values()])
    return {
        name: part.view(values.shape)
        for (name, values), part in zip(scores.items(), parts, strict=True)
    }


def _lowest(values: Tensor, count: int) -> Tensor:
    if not 0 <= count <= values.numel():
        raise ValueError(f"count must be in [0, {values.numel()}], the entries there, got {count}")
    if values.isnan().any():
        raise NaNError(f"scores must be numbers, got {int(values.isnan().sum())} NaN")
    chosen = torch.zeros(values.shape, dtype=torch.bool, device=values.device)
    if count:
        # topk, for the CUDA kthvalue is refused under torch.use_deterministic_algorithms
        last = values.topk(count, largest=False, sorted=False).values.max()
        chosen = values < last
        ties = (values == last).nonzero().squeeze(1)
        chosen[ties[: count - int(chosen.sum())]] = True
    return chosen
