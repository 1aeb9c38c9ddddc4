"""Structures in which groups of neighbours hold equal numbers of connections.

They choose in each group by the score of a criterion.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lsh_native.pruning.course import Value, at
from lsh_native.pruning.criterion import Counts, Drop, DropLowest, Grow, GrowHighest
from lsh_native.pruning.structure import Structure
from lsh_native.sparsity.connections import Connections, Masks, State, count_live
from lsh_native.sparsity.selection import NaNError


@dataclass(frozen=True, kw_only=True)
class Balanced(Structure):
    """Groups of neighbours within a row hold equal numbers of connections, to within one.

    Of numbers that cannot be equal the first groups hold the larger. What is dropped for good goes
    in each group by the drop criterion's score, what grows comes by the grow criterion's.

    Args:
        width: Entries of a group; None for whole rows, that is constant fan-in.
    """

    width: int | None = None

    def __post_init__(self) -> None:
        if self.width is not None and self.width < 1:
            raise ValueError(f"the width of a group must be at least 1, got {self.width}")

    def reduce(self, connections: Connections) -> Connections:
        """See `Structure.reduce`."""
        for name, size in connections.sizes.items():
            if self.width is not None and size[1:].numel() % self.width:
                raise ValueError(
                    f"the columns of {name} must be a multiple of {self.width} to hold whole "
                    f"groups, got {size[1:].numel()}"
                )
        return connections

    def refuse(self, masks: Masks) -> None:
        """See `Structure.refuse`."""
        for name, mask in masks.items():
            live = self._groups(mask).count_nonzero(1)
            live = live[live > 0]  # groups may have fallen out of use
            if live.numel() and int(live.max() - live.min()) > 1:
                raise ValueError(
                    f"the groups of {name} must hold equal numbers of connections to within one, "
                    f"got {int(live.min())} to {int(live.max())}"
                )

    def shrink(
        self,
        drop: Drop,
        connections: Connections,
        counts: Counts,
        state: State,
        generator: torch.Generator,
    ) -> tuple[Masks, State]:
        """See `Structure.shrink`."""
        if not isinstance(drop, DropLowest):
            raise ValueError(f"a structure of groups must have a drop by score, got {drop}")
        scores = drop.score(connections, connections.masks, generator)
        live = connections.counts()
        survivors = {}
        for name, mask in connections.masks.items():
            values = scores[name].abs() if drop.magnitude else scores[name]
            targets = self.targets(mask, live[name] - counts[name])
            survivors[name] = self._keep(values, mask, targets)
        return survivors, state

    def grow(
        self,
        grow: Grow,
        connections: Connections,
        survivors: Masks,
        counts: Counts,
        state: State,
        generator: torch.Generator,
    ) -> tuple[Masks, State]:
        """See `Structure.grow`; groups that hold too many lose their smallest |w| first."""
        if not isinstance(grow, GrowHighest):
            raise ValueError(f"a structure of groups must have a growth by score, got {grow}")
        live = count_live(survivors)
        used = self.used(grow, connections, survivors, counts, state, generator)
        targets, kept = {}, {}
        for name, mask in survivors.items():
            targets[name] = self.targets(mask, live[name] + counts[name], used[name])
            kept[name] = self._keep(connections.weights[name].abs(), mask, targets[name])
        scores = grow.score(connections, kept, generator)
        masks = {}
        for name, mask in kept.items():
            values = scores[name].abs() if grow.magnitude else scores[name]
            missing = targets[name] - self._groups(mask).count_nonzero(1)
            grown = _highest_of_each(self._groups(values), ~self._groups(mask), missing)
            masks[name] = mask | grown.view(mask.shape)
        return masks, state

    def used(
        self,
        grow: Grow,
        connections: Connections,
        survivors: Masks,
        counts: Counts,
        state: State,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Which groups may hold connections, a bool each."""
        return {
            name: self._groups(mask).new_ones(()).expand(self._groups(mask).shape[0])
            for name, mask in survivors.items()
        }

    def targets(self, mask: Tensor, count: int, used: Tensor | None = None) -> Tensor:
        """Connections of each group when a matrix has so many, int64."""
        groups = self._groups(mask)
        if used is None:
            used = groups.new_ones(groups.shape[0])
        if int(used.count_nonzero()) * groups.shape[1] < count:
            used = torch.ones_like(used)
        each, rest = divmod(count, max(int(used.count_nonzero()), 1))
        return torch.where(used, each + (used.cumsum(0) <= rest), 0)

    def _groups(self, tensor: Tensor) -> Tensor:
        """(groups, entries of a group)."""
        return tensor.reshape(-1, self.width or max(tensor.shape[1:].numel(), 1))

    def _keep(self, values: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
        return _highest_of_each(self._groups(values), self._groups(mask), targets, fewer=True).view(
            mask.shape
        )


@dataclass(frozen=True, kw_only=True)
class NofM(Balanced):
    """Exactly n of each m neighbours within a row are live.

    Args:
        n: Connections of a group.
        width: m, entries of a group.

    Raises:
        ValueError: n is not in [0, m].

    Source: A. Zhou et al., "Learning N:M fine-grained structured sparse neural networks from
    scratch", 2021.
    """

    n: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width is None or not 0 <= self.n <= self.width:
            raise ValueError(f"n must be in [0, m], got {self.n} and {self.width}")

    def reduce(self, connections: Connections) -> Connections:
        """See `Structure.reduce`."""
        assert self.width is not None
        if abs(connections.density * self.width - self.n) > 1e-6:
            raise ValueError(
                f"the density must be {self.n / self.width}, the only one that {self.n} of "
                f"{self.width} reaches, got {connections.density}"
            )
        return super().reduce(connections)

    def refuse(self, masks: Masks) -> None:
        """See `Structure.refuse`."""
        for name, mask in masks.items():
            if not bool((self._groups(mask).count_nonzero(1) == self.n).all()):
                raise ValueError(f"the mask of {name} must keep {self.n} of each {self.width}")


@dataclass(frozen=True, kw_only=True)
class FanIn(Balanced):
    """Constant fan-in over the rows in use; rows with little worth keeping fall out of use.

    After a drop, the growth is tried without structure. A row that then holds fewer than `ablate`
    of the mean number of connections is left empty for good, and the others share its connections.

    Args:
        ablate: Share γ in [0, 1); 0 ablates no row.

    Raises:
        ValueError: The share is out of range, at the start or at the end.

    Source: M. Lasby et al., "Dynamic sparse training with structured sparsity", 2024 (SRigL).
    """

    ablate: Value = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = [at(self.ablate, progress) for progress in (0.0, 1.0)]
        if self.width is not None or not all(0 <= share < 1 for share in shares):
            raise ValueError(f"ablate must be in [0, 1) over whole rows, got {self}")

    def used(
        self,
        grow: Grow,
        connections: Connections,
        survivors: Masks,
        counts: Counts,
        state: State,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """See `Balanced.used`."""
        share = at(self.ablate, connections.progress)
        if not share or not any(connections.counts().values()):  # or the first masks
            return super().used(grow, connections, survivors, counts, state, generator)
        tried, _ = grow(connections, survivors, counts, state, generator)
        used = {}
        for name, mask in tried.items():
            alive = connections.masks[name].flatten(1).any(1)
            salient = mask.flatten(1).count_nonzero(1)
            mean = int(mask.count_nonzero()) / max(int(alive.count_nonzero()), 1)
            used[name] = alive & (salient >= share * mean)
        return used


def _highest_of_each(
    values: Tensor, among: Tensor, counts: Tensor, *, fewer: bool = False
) -> Tensor:
    """The highest values of each row, as many as its count says, equal ones by the lower index."""
    if bool((values.isnan() & among).any()):
        raise NaNError("scores must be numbers, got NaN")
    short = counts - among.count_nonzero(1)
    if not fewer and bool((short > 0).any()):
        raise ValueError(
            f"every group must have room for its connections, {int(short.max())} are left over"
        )
    order = (-values).masked_fill(~among, torch.nan).sort(dim=1, stable=True).indices
    first = torch.arange(values.shape[1], device=values.device) < counts[:, None]
    return torch.zeros_like(among).scatter_(1, order, first) & among
