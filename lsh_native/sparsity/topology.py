"""The masks of a model: the one place where masks, weights and optimizer state change together."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Protocol, Self, TypeAlias, cast, runtime_checkable

import torch
from torch import Tensor, nn

from lsh_native.sparsity.change import Change
from lsh_native.sparsity.connections import (
    Connections,
    Masks,
    State,
    Weights,
    check_masks,
    count_live,
)
from lsh_native.sparsity.zero_dead import zero_dead_

_MASK, _FIRST, _EXPLORED, _METHOD = "mask.", "first.", "explored.", "method."
_PREFIXES = (_MASK, _FIRST, _EXPLORED, _METHOD)


class Method(Protocol):
    """How a topology starts and changes. Nothing here but the generator is ever written."""

    @property
    def needs_gradient(self) -> bool:
        """Whether the gradients of dead connections are ever read."""

    @property
    def follows(self) -> bool:
        """Whether `follow` is wanted after every step."""

    def needs_gradient_at(self, step: int) -> bool:
        """Whether the gradients of dead connections are read after this step."""

    def over(self, steps: int | None) -> Self:
        """The same method for a training of this many optimizer steps."""

    def due(self, step: int) -> bool:
        """Whether the topology changes after this optimizer step, counted from 1."""

    def start(self, connections: Connections, generator: torch.Generator) -> tuple[Masks, State]:
        """First masks and state, given a model whose connections are all live."""

    def refuse(self, masks: Masks) -> None:
        """Raise ValueError where masks cannot be of this method."""

    def follow(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Weights, State]:
        """New values of weights after a step, from weights of which dead ones are not cleared."""

    def update(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Masks, State, Weights]:
        """The next masks and state, and values for live weights that are neither kept nor zero."""

    def trained(self, masks: Masks, state: State) -> Masks:
        """The connections whose optimizer state is kept, the live ones or more."""

    def describe(self) -> dict[str, str]:
        """What tells this method from others, in words."""


@runtime_checkable
class MaskedModule(Protocol):
    """A module that executes its own masks.

    One that has a method `share_masks` too is given the topology's own tensors by it, which nobody
    writes to; `set_masks` has to copy them.
    """

    def masks(self) -> Masks:
        """Bool mask of each weight that can be masked, by parameter name."""

    def set_masks(self, masks: Masks) -> None:
        """Take new masks for the weights named."""


class _GradientChooser(Protocol):
    gradient: str  # "masked" or "dense"


Observer: TypeAlias = Callable[[Change], None]


class Topology:
    """The masks of a model under a pruning method.

    Weights of two or more dimensions are chosen by globs over their names. A module with the
    methods of `MaskedModule` gets its masks handed over; the weights of any other module are kept
    at zero outside their masks. A tensor that stands under several names has one mask, under its
    first name.

    A method that reads dense gradients gets them from modules with an attribute `gradient`
    ("masked" or "dense"): the topology sets it to "dense" for exactly those steps that end in an
    update. With such a method do not clear gradients between `optimizer.step()` and
    `topology.step(optimizer)`.

    Args:
        model: Any module; its chosen weights are set to zero where the first masks are false.
        method: How the topology starts and changes.
        density: Share of all chosen weights that is kept in the end, in [0, 1].
        seed: The same seed gives the same masks on every device and for every number of threads.
        include: Globs of which a weight's name must match one.
        exclude: Globs of which a weight's name must match none.
        steps: Optimizer steps of the whole training; a method may do without.

    Raises:
        ValueError: A glob matches no weight matrix, none is left, the density is outside [0, 1], or
            the method's structure does not fit a matrix or the density.
        TypeError: `include` or `exclude` is a single string.

    Example:
        >>> from lsh_native.pruning import method
        >>> model = nn.Linear(8, 4)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> topology = Topology(model, method("static"), density=0.25, seed=1)
        >>> model(torch.ones(2, 8)).sum().backward()
        >>> optimizer.step()
        >>> topology.step(optimizer)
        False
        >>> topology.counts(), int(model.weight.count_nonzero())
        ({'weight': 8}, 8)
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        *,
        density: float,
        seed: int,
        include: Iterable[str] = ("*",),
        exclude: Iterable[str] = (),
        steps: int | None = None,
    ) -> None:
        aliases = _choose(model, include, exclude)
        self._weights = {names[0]: weight for weight, names in aliases.items()}
        owners = _owners(model, aliases)
        self._masked_modules = [
            (module, names)
            for module, owned in owners
            if isinstance(module, MaskedModule)
            and (names := {local: name for local, name in owned.items() if local in module.masks()})
        ]
        self._gradient_choosers = [
            cast(_GradientChooser, module)
            for module, _ in owners
            if getattr(module, "gradient", None) in ("masked", "dense")
        ]
        self._method = method.over(steps)
        self._density = density
        self._generator = torch.Generator().manual_seed(seed)
        self._step = 0
        self._state: State = {}
        self._observers: list[Observer] = []
        if method.needs_gradient:
            self._refuse_modules_without_dense_gradient()
        everything = {
            name: torch.ones_like(weight, dtype=torch.bool)
            for name, weight in self._weights.items()
        }
        self._masks, self._explored = everything, {}
        start = Connections(weights=self._values(), masks=everything, density=density)
        masks, self._state = self._method.start(start, self._generator)
        self._set_masks(masks)
        self._first = self.masks()
        self._explored = self.masks()  # no mask is written to, so these may be one
        self._clear(None)
        self._choose_gradient()

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Follow one step of the optimizer; call it right after `optimizer.step()`.

        Dead weights are set back to zero with every tensor of their shape in the optimizer's state.
        When the method is due, its new masks are applied: a dropped or grown connection starts from
        zero, in its weight and in the optimizer's state. One that was dropped and grown again in
        the same update never left. A method may ask for other values of live weights; the optimizer
        state of those it changes starts from zero too.

        Returns:
            Whether the method was due, so that the masks may have changed.

        Raises:
            ValueError: The optimizer does not hold a chosen weight, or a gradient the method needs
                is absent.
            NaNError: The method has to choose among weights or gradients that hold NaN.
        """
        self._refuse_foreign(optimizer)
        step = self._step + 1
        if self._method.follows:
            weights, self._state = self._method.follow(
                self._connections(step), step, self._state, self._generator
            )
            self._write(weights)
        self._clear(optimizer, unless=getattr(optimizer, "kept_zeros", None))
        due = self._method.due(step)
        if due:
            before = self._masks
            masks, self._state, weights = self._method.update(
                self._connections(step), step, self._state, self._generator
            )
            self._set_masks(masks)
            self._restart(weights, optimizer)
            self._clear(optimizer)
            for name, mask in self._masks.items():
                self._explored[name] = self._explored[name] | mask
            self._tell(before)
        self._step = step
        self._choose_gradient()
        return due

    def trains_live_only(self) -> bool:
        """Whether the method trains and keeps nothing at dead connections."""
        trained = self._method.trained(self._masks, self._state)
        return not self._method.follows and trained is self._masks

    def observe(self, observer: Observer) -> None:
        """Have a function called with every `Change` from now on, after it was applied."""
        self._observers.append(observer)

    def masks(self) -> dict[str, Tensor]:
        """Bool mask of each chosen weight, on the weight's device; not to be written."""
        return dict(self._masks)

    def counts(self) -> dict[str, int]:
        """Live connections of each chosen weight."""
        return count_live(self._masks)

    def densities(self) -> dict[str, float]:
        """Share of live connections of each chosen weight."""
        return {
            name: count / max(self._masks[name].numel(), 1) for name, count in self.counts().items()
        }

    def density(self) -> float:
        """Share of live connections of all chosen weights together."""
        size = sum(mask.numel() for mask in self._masks.values())
        return sum(self.counts().values()) / max(size, 1)

    def change(self) -> Change:
        """All that has happened since the first masks, as one change."""
        return Change(
            step=self._step,
            before=self._first,
            after=self.masks(),
            first=self._first,
            explored=dict(self._explored),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that continues this topology bit for bit: tensors and plain JSON values."""
        return {
            "step": self._step,
            "density": self._density,
            "description": self._method.describe(),
            "generator": self._generator.get_state(),
            **{_MASK + name: mask.clone() for name, mask in self._masks.items()},
            **{_FIRST + name: mask.clone() for name, mask in self._first.items()},
            **{_EXPLORED + name: mask.clone() for name, mask in self._explored.items()},
            **{
                _METHOD + name: value.clone() if isinstance(value, Tensor) else value
                for name, value in self._state.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` stood; model and optimizer have states of their own.

        Raises:
            ValueError: The state belongs to other weights, another density or another method, or a
                part of it is missing or malformed. Nothing has changed then.
        """
        fixed = {"step", "density", "description", "generator"}
        if missing := fixed - state.keys():
            raise ValueError(f"a topology's state must hold {sorted(missing)}, got {sorted(state)}")
        masks, first, explored = (_with_prefix(state, part) for part in (_MASK, _FIRST, _EXPLORED))
        try:
            for part in (masks, first, explored):
                check_masks(part, self._sizes())
        except TypeError as error:
            raise ValueError(str(error)) from error
        self._method.refuse(masks)
        if unknown := [
            name for name in state if name not in fixed and not name.startswith(_PREFIXES)
        ]:
            raise ValueError(f"a topology's state must hold nothing else, got {sorted(unknown)}")
        if not isinstance(state["description"], Mapping):
            raise ValueError(f"description must be a mapping, got {state['description']!r}")
        if differing := _differences(
            {"density": str(state["density"]), **state["description"]},
            {"density": str(self._density), **self._method.describe()},
        ):
            raise ValueError("the state must be of the same topology, but " + ", ".join(differing))
        step = state["step"]
        if not isinstance(step, int) or step < 0:
            raise ValueError(f"step must be an int of at least 0, got {step!r}")
        generator = torch.Generator()
        try:
            generator.set_state(state["generator"].cpu())
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(f"generator must be the state of a CPU generator: {error}") from error
        self._generator = generator
        self._step = step
        self._state = {
            name: value.clone() if isinstance(value, Tensor) else value
            for name, value in _with_prefix(state, _METHOD).items()
        }
        self._set_masks(masks)
        self._first, self._explored = self._on_devices(first), self._on_devices(explored)
        self._clear(None)
        self._choose_gradient()

    def _values(self) -> dict[str, Tensor]:
        return {name: weight.detach() for name, weight in self._weights.items()}

    def _sizes(self) -> dict[str, torch.Size]:
        return {name: weight.shape for name, weight in self._weights.items()}

    def _on_devices(self, masks: Masks) -> dict[str, Tensor]:
        """Copies of masks beside their weights."""
        return {
            name: masks[name].to(weight.device, copy=True) for name, weight in self._weights.items()
        }

    def _connections(self, step: int) -> Connections:
        gradients = {}
        needed = self._method.needs_gradient_at(step)
        for name, weight in self._weights.items() if needed else ():
            if weight.grad is None:
                raise ValueError(
                    f"the method must see the gradient of {name}, got none: call topology.step "
                    "between optimizer.step and optimizer.zero_grad"
                )
            gradients[name] = weight.grad.to_dense() if weight.grad.is_sparse else weight.grad
        return Connections(
            weights=self._values(),
            masks=self._masks,
            gradients=gradients,
            density=self._density,
            explored=self._explored,
        )

    def _set_masks(self, masks: Masks) -> None:
        check_masks(masks, self._sizes())
        self._masks = self._on_devices(masks)
        for module, names in self._masked_modules:
            take = getattr(module, "share_masks", module.set_masks)
            take({local: self._masks[name] for local, name in names.items()})

    @torch.no_grad()
    def _write(self, weights: Weights) -> None:
        for name, weight in weights.items():
            self._weights[name].copy_(weight)

    @torch.no_grad()
    def _restart(self, weights: Weights, optimizer: torch.optim.Optimizer) -> None:
        """Give live weights new values; the optimizer forgets those that it had trained."""
        for name, value in weights.items():
            weight, mask = self._weights[name], self._masks[name]
            changed = mask & (weight != value) & (weight != 0)
            weight.copy_(torch.where(mask, value, 0))
            zero_dead_(_same_shaped(optimizer, weight), ~changed)

    def _clear(
        self,
        optimizer: torch.optim.Optimizer | None,
        unless: Callable[[Tensor], bool] | None = None,
    ) -> None:
        """Set dead weights to zero, and all state of their shape that is no longer trained.

        An optimizer that moves connections only says so of a weight by its method `kept_zeros`.
        """
        trained = self._method.trained(self._masks, self._state)
        for name, weight in self._weights.items():
            if unless is not None and unless(weight):
                continue
            zero_dead_([weight], self._masks[name])
            zero_dead_(_same_shaped(optimizer, weight), trained[name])

    def _tell(self, before: Masks) -> None:
        if self._observers:
            change = Change(
                step=self._step + 1,
                before=before,
                after=self.masks(),
                first=self._first,
                explored=dict(self._explored),
            )
            for observer in self._observers:
                observer(change)

    def _choose_gradient(self) -> None:
        if self._method.needs_gradient:
            kind = "dense" if self._method.needs_gradient_at(self._step + 1) else "masked"
            for module in self._gradient_choosers:
                module.gradient = kind

    def _refuse_modules_without_dense_gradient(self) -> None:
        for module, names in self._masked_modules:
            if not hasattr(module, "gradient"):
                raise ValueError(
                    "a method that reads dense gradients needs modules with the attribute "
                    f"'gradient', {type(module).__name__} of {sorted(names.values())} has none"
                )

    def _refuse_foreign(self, optimizer: torch.optim.Optimizer) -> None:
        held = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        foreign = [
            name
            for name, weight in self._weights.items()
            if weight.requires_grad and id(weight) not in held
        ]
        if foreign:
            raise ValueError(f"the optimizer must hold all chosen weights, it lacks {foreign}")


def _choose(
    model: nn.Module, include: Iterable[str], exclude: Iterable[str]
) -> dict[nn.Parameter, list[str]]:
    """The chosen weights, each with all names it stands under, in the model's order."""
    for name, globs in (("include", include), ("exclude", exclude)):
        if isinstance(globs, str):
            raise TypeError(f"{name} must be a sequence of globs, got the string {globs!r}")
    include, exclude = list(include), list(exclude)
    aliases: dict[nn.Parameter, list[str]] = defaultdict(list)
    for name, weight in model.named_parameters(remove_duplicate=False):
        if weight.dim() >= 2:
            aliases[weight].append(name)
    known = [name for names in aliases.values() for name in names]
    for glob in (*include, *exclude):
        if not any(fnmatchcase(name, glob) for name in known):
            raise ValueError(f"a glob must match a weight matrix, {glob!r} matches none of {known}")
    chosen = {
        weight: names
        for weight, names in aliases.items()
        if _matches(names, include) and not _matches(names, exclude)
    }
    if not chosen:
        raise ValueError(f"a topology needs a weight matrix, none of {known} is left")
    return chosen


def _same_shaped(optimizer: torch.optim.Optimizer | None, weight: nn.Parameter) -> list[Tensor]:
    """The optimizer's state of a weight that has an entry for each of its entries."""
    state = optimizer.state.get(weight, {}) if optimizer else {}
    return [
        value
        for value in state.values()
        if isinstance(value, Tensor) and value.shape == weight.shape
    ]


def _matches(names: Iterable[str], globs: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for name in names for glob in globs)


def _owners(
    model: nn.Module, aliases: Mapping[nn.Parameter, list[str]]
) -> list[tuple[nn.Module, dict[str, str]]]:
    """Every module that holds chosen weights, with their names there and in the topology."""
    owners = []
    for module in model.modules():
        own = module.named_parameters(recurse=False, remove_duplicate=False)
        names = {local: aliases[weight][0] for local, weight in own if weight in aliases}
        if names:
            owners.append((module, names))
    return owners


def _with_prefix(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def _differences(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    return [
        f"{name} is {there.get(name)} there and {here.get(name)} here"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]
