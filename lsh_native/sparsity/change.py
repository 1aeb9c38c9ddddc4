"""What an update did to a topology, in numbers for a log."""

from dataclasses import dataclass

from torch import Tensor

from lsh_native.sparsity.connections import Masks
from lsh_native.sparsity.gates import gate_counts
from lsh_native.sparsity.mask import count_true


@dataclass(frozen=True, kw_only=True)
class Change:
    """One update of a topology; all masks are by name and not to be written.

    Args:
        step: Optimizer step after which it happened.
        before: Masks before.
        after: Masks since.
        first: Masks that the topology started with.
        explored: True where a connection is or ever was live.

    Example:
        >>> import torch
        >>> one, other = torch.tensor([[True, True, False]]), torch.tensor([[False, True, True]])
        >>> change = Change(
        ...     step=3, before={"a": one}, after={"a": other}, first={"a": one},
        ...     explored={"a": one | other},
        ... )
        >>> change.survival(), change.explored_share(), round(change.jaccard(), 3)
        (0.5, 1.0, 0.333)
    """

    step: int
    before: Masks
    after: Masks
    first: Masks
    explored: Masks

    def jaccard(self) -> float:
        """Connections live before and after, as a share of those live before or after."""
        both = sum(count_true(self.before[name] & mask) for name, mask in self.after.items())
        either = sum(count_true(self.before[name] | mask) for name, mask in self.after.items())
        return both / max(either, 1)

    def survival(self) -> float:
        """Share of the first connections that is live."""
        left = sum(count_true(self.first[name] & mask) for name, mask in self.after.items())
        return left / max(sum(map(count_true, self.first.values())), 1)

    def explored_share(self) -> float:
        """Share of all connections that is or ever was live.

        Source: S. Liu et al., "Do we actually need dense over-parameterization?", 2021 (ITOP).
        """
        size = sum(mask.numel() for mask in self.explored.values())
        return sum(map(count_true, self.explored.values())) / max(size, 1)

    def gate_densities(self) -> dict[str, list[float]]:
        """Density of each gate of the matrices whose rows are stacked gates, by name.

        See `gate_counts` for which they are.
        """
        counts = gate_counts({name: mask.shape for name, mask in self.after.items()})
        return {
            name: [
                count_true(part) / max(part.numel(), 1) for part in self.after[name].chunk(gates)
            ]
            for name, gates in counts.items()
        }

    def empty_rows(self) -> dict[str, int]:
        """Rows of each matrix without a connection: outputs that read nothing."""
        return {name: _empty(mask, 1) for name, mask in self.after.items()}

    def empty_columns(self) -> dict[str, int]:
        """Columns of each matrix without a connection: inputs that nothing reads."""
        return {name: _empty(mask, 0) for name, mask in self.after.items()}


def _empty(mask: Tensor, side: int) -> int:
    return count_true(~mask.flatten(1).any(side))
