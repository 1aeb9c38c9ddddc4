"""How surprising each next token is, without the logits of a whole text in memory.

Logits are made for a slice of positions at a time. The gradient of a slice is taken while its
logits exist, so nothing is computed twice and no more than one slice is ever held; it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lsh_native.nn.sparse_module import SparseModule

__all__ = ["SLICE", "mean_loss", "token_losses"]

SLICE = 2**23
"""The most logits made at once, 32 MiB of them in float32; about three such slices are in use.

A sparse decoder packs its weight for every slice, which a hundred positions or more pay for.
"""

Losses = Callable[[Tensor, Tensor], Tensor]


def token_losses(
    decoder: nn.Module, hidden: Tensor, target: Tensor, *, limit: int = SLICE
) -> Tensor:
    """Negative log-likelihood of each token in nats, without gradients; zero where ignored.

    Args:
        decoder: maps (N, H) to logits (N, V); or one with the methods `losses(hidden, target)`,
            (N, H) and (N,) to (N,), and `width()`, the logits that it makes for one position.
        hidden: (N, H).
        target: ids (N,), or -100 to ignore a position.
        limit: logits made at once, unless one position needs more.
    """
    losses, rows = _losses_of(decoder), _rows(decoder, limit)
    with torch.no_grad():
        return torch.cat([losses(h, t) for h, t in _slices(hidden, target, rows)])


def mean_loss(decoder: nn.Module, hidden: Tensor, target: Tensor, *, limit: int = SLICE) -> Tensor:
    """Mean negative log-likelihood per token in nats, differentiable; arguments as above.

    Every position counts here. A second derivative is refused where there are several slices.
    """
    rows = _rows(decoder, limit)
    if len(hidden) <= rows:
        if hasattr(decoder, "losses"):
            return _losses_of(decoder)(hidden, target).mean()
        return cross_entropy(decoder(hidden), target)
    parameters = [p for p in _read_by(decoder) if p.requires_grad]
    total: Tensor = _SlicedSum.apply(
        _losses_of(decoder), rows, parameters, target, hidden, *parameters
    )  # type: ignore[no-untyped-call]
    return total / len(target)


class _SlicedSum(torch.autograd.Function):
    """The sum of losses; its gradients are ready when it is, up to a factor."""

    @staticmethod
    def forward(
        ctx: Any,
        losses: Losses,
        rows: int,
        parameters: list[Tensor],
        target: Tensor,
        hidden: Tensor,
        *_: Tensor,
    ) -> Tensor:
        total = hidden.new_zeros(())
        if not any(ctx.needs_input_grad):
            for part, wanted in _slices(hidden, target, rows):
                total = total + losses(part, wanted).sum()
            return total
        to_hidden = torch.empty_like(hidden)
        to_parameters: list[Tensor | None] = []
        for start, (part, wanted) in enumerate(_slices(hidden, target, rows)):
            part = part.detach().requires_grad_()
            with torch.enable_grad():
                loss = losses(part, wanted).sum()
            found, *others = torch.autograd.grad(loss, (part, *parameters), allow_unused=True)
            to_hidden[start * rows : start * rows + len(part)] = found
            if to_parameters:
                for whole, other in zip(to_parameters, others, strict=True):
                    if whole is not None:
                        whole.add_(other)
            else:
                to_parameters = list(others)
            total = total + loss.detach()
        ctx.save_for_backward(to_hidden, *to_parameters)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = (None if saved is None else saved * grad for saved in ctx.saved_tensors)
        return None, None, None, None, *found


def _read_by(decoder: nn.Module) -> list[Tensor]:
    """The leaves that gradients of the decoder's output reach."""
    found: dict[int, Tensor] = {}
    for module in decoder.modules():
        for name, parameter in module.named_parameters(recurse=False):
            leaf = module.operand(name) if isinstance(module, SparseModule) else parameter
            found[id(leaf)] = leaf
    return list(found.values())


def _losses_of(decoder: nn.Module) -> Losses:
    own: Losses | None = getattr(decoder, "losses", None)
    return own or (lambda hidden, target: cross_entropy(decoder(hidden), target, reduction="none"))


def _rows(decoder: Any, limit: int) -> int:
    """How many positions make a slice."""
    width: int = decoder.width() if hasattr(decoder, "width") else decoder.out_features
    return max(1, limit // width)


def _slices(hidden: Tensor, target: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(hidden.split(rows), target.split(rows), strict=True)
