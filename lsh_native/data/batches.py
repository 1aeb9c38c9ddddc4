"""Tokens become windows of columns: what a model reads and what it is to predict.

A stream of tokens is laid out as B columns that are read side by side, each a contiguous piece of
the stream. Training takes `columns`, which cuts the few tokens that do not fill a row. Evaluation
takes `evaluation_columns`, in which each column starts with the last token of the one before, so
that every token but the first, which nothing precedes, is predicted exactly once:

    perplexity = exp(sum of negative log-likelihoods / (len(tokens) - 1))

The sum runs over all windows with the state carried from one to the next, so it does not depend
on the length of a window. It depends slightly on the number of columns, as the state starts anew
at the top of each; one column is the text read from beginning to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

# the target that torch.nn.functional.cross_entropy passes over by default
IGNORED = -100

HALVED = 0.05
"""Share of windows of random length that are half as long as the others."""

MEAN_LENGTH = 1 - HALVED / 2
"""Mean of their lengths before they are stretched, as a share of the length asked for."""

_SHORTEST = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A piece of every column.

    Args:
        input: int64 (T, B), the tokens to read; of images float (T, B, I), their rows.
        target: int64 (T, B), the token that follows each, or `IGNORED`; of images (B,), the class.
    """

    input: Tensor
    target: Tensor


def columns(tokens: Tensor, batch_size: int) -> Tensor:
    """Lay tokens out as equally long columns for training; the tail that fills no row is cut.

    Args:
        tokens: int64 (N,).
        batch_size: number of columns B.

    Returns:
        int64 (N // B, B), contiguous; column b holds the tokens from b · (N // B) on.

    Raises:
        TypeError: if ``tokens`` is not an int64 tensor.
        ValueError: if there are not two rows of tokens.

    Example:
        >>> columns(torch.arange(7), 2)
        tensor([[0, 3],
                [1, 4],
                [2, 5]])
    """
    _check(tokens, batch_size, fewest=2 * batch_size)
    T = len(tokens) // batch_size
    return tokens[: T * batch_size].view(batch_size, T).t().contiguous()


def evaluation_columns(tokens: Tensor, batch_size: int) -> Tensor:
    """Lay tokens out as columns that predict every token but the first exactly once.

    Each column starts with the last token of the one before. Where B does not divide the number
    of predictions, the last columns are one row shorter and filled up with `IGNORED`, which is
    then only a target and never an input.

    Args:
        tokens: int64 (N,).
        batch_size: number of columns B.

    Returns:
        int64 (ceil((N - 1) / B) + 1, B), contiguous.

    Raises:
        TypeError: if ``tokens`` is not an int64 tensor.
        ValueError: if there are not two tokens.

    Example:
        >>> evaluation_columns(torch.arange(6), 2)
        tensor([[   0,    3],
                [   1,    4],
                [   2,    5],
                [   3, -100]])
    """
    _check(tokens, batch_size, fewest=2)
    predictions = len(tokens) - 1
    column = torch.arange(batch_size, device=tokens.device)
    height = predictions // batch_size + (column < predictions % batch_size).long()
    row = torch.arange(int(height[0]) + 1, device=tokens.device)[:, None]
    position = height.cumsum(0) - height + row
    return torch.where(row <= height, tokens[position.clamp(max=predictions)], IGNORED)


def windows(columns: Tensor, length: int) -> tuple[Window, ...]:
    """Cut columns into consecutive windows; the last may be shorter.

    Args:
        columns: int64 (T, B), from `columns` or `evaluation_columns`.
        length: rows of a window.

    Returns:
        The windows in order: ceil((T - 1) / length) views of ``columns``.

    Raises:
        TypeError: if ``columns`` is not an int64 tensor.
        ValueError: if ``columns`` is not 2-D or too short for one whole window.

    Example:
        >>> [window.target.tolist() for window in windows(torch.arange(4)[:, None], 2)]
        [[[1], [2]], [[3]]]
    """
    if columns.dtype != torch.int64:
        raise TypeError(f"columns must be int64, got {columns.dtype}")
    if columns.ndim != 2:
        raise ValueError(f"columns must have the shape (T, B), got {tuple(columns.shape)}")
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    if len(columns) < length + 1:
        raise ValueError(
            f"columns must have at least length + 1 = {length + 1} rows for one window, "
            f"got {len(columns)}: use a longer text, fewer columns or a shorter window"
        )
    read, follow = columns[:-1], columns[1:]
    return tuple(
        Window(input=read[start : start + length], target=follow[start : start + length])
        for start in range(0, len(read), length)
    )


def random_windows(
    columns: Tensor, count: int, length: int, spread: float, generator: torch.Generator
) -> tuple[Window, ...]:
    """Cut columns into a number of windows of random lengths.

    Lengths are normal about `length`, or about half of it for one window in twenty, and at least
    5. Then all are stretched by one factor close to 1, so that every cut has the same number of
    windows, which schedules that count steps rely on.

    Args:
        columns: int64 (T, B), from `columns`.
        count: number of windows, at most T - 1.
        length: rows of most windows in the mean.
        spread: standard deviation of the lengths.
        generator: where the random numbers come from, on the CPU.

    Returns:
        The windows in order, views of ``columns``.

    Raises:
        ValueError: if there are fewer than ``count`` rows to predict.

    Source: Merity, Keskar & Socher, "Regularizing and optimizing LSTM language models", 2018,
    section 4.1.
    """
    targets = len(columns) - 1
    if not 1 <= count <= targets:
        raise ValueError(f"count must be in [1, {targets}] for {len(columns)} rows, got {count}")
    halved = torch.rand(count, generator=generator, dtype=torch.float64) < HALVED
    noise = spread * torch.randn(count, generator=generator, dtype=torch.float64)
    lengths = (torch.where(halved, length / 2, float(length)) + noise).clamp(min=_SHORTEST)
    # whole rows of which every window has one at least
    ends = (lengths.cumsum(0) * ((targets - count) / lengths.sum())).round().long()
    ends += torch.arange(1, count + 1)
    read, follow = columns[:-1], columns[1:]
    return tuple(
        Window(input=read[start:end], target=follow[start:end])
        for start, end in pairwise([0, *ends.tolist()])
    )


def _check(tokens: Tensor, batch_size: int, *, fewest: int) -> None:
    if tokens.dtype != torch.int64:
        raise TypeError(f"tokens must be int64, got {tokens.dtype}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if tokens.ndim != 1 or len(tokens) < fewest:
        raise ValueError(
            f"tokens must be 1-D with at least {fewest} tokens for {batch_size} columns, "
            f"got shape {tuple(tokens.shape)}"
        )
