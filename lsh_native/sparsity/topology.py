"""The masks of a model: the one place where masks, weights and optimizer state change together."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Protocol, Self, cast, runtime_checkable

import torch
from torch import Tensor, nn

from lsh_native.sparsity.connections import Connections, Masks, State, check_masks, count_live

_MASK, _METHOD = "mask.", "method."


class Method(Protocol):
    """How a topology starts and changes. Nothing here but the generator is ever written."""

    @property
    def needs_gradient(self) -> bool:
        """Whether an update reads the gradients of dead connections."""

    def over(self, steps: int | None) -> Self:
        """The same method for a training of this many optimizer steps."""

    def due(self, step: int) -> bool:
        """Whether the topology changes after this optimizer step, counted from 1."""

    def start(self, connections: Connections, generator: torch.Generator) -> Masks:
        """The first masks, given a model whose connections are all live."""

    def update(
        self, connections: Connections, step: int, state: State, generator: torch.Generator
    ) -> tuple[Masks, State]:
        """The next masks, and what the method wants to be handed at the next update."""

    def describe(self) -> dict[str, str]:
        """What tells this method from others, in words."""


@runtime_checkable
class MaskedModule(Protocol):
    """A module that executes its own masks."""

    def masks(self) -> Masks:
        """Bool mask of each weight that can be masked, by parameter name."""

    def set_masks(self, masks: Masks) -> None:
        """Take new masks for the weights named."""


class _GradientChooser(Protocol):
    gradient: str  # "masked" or "dense"


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
        ValueError: A glob matches no weight matrix, none is left, or the density is outside [0, 1].
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
        self._masks: dict[str, Tensor] = {}
        if method.needs_gradient:
            self._refuse_modules_without_dense_gradient()
        everything = {
            name: torch.ones_like(weight, dtype=torch.bool)
            for name, weight in self._weights.items()
        }
        start = Connections(weights=self._values(), masks=everything, density=density)
        self._set_masks(self._method.start(start, self._generator))
        self._clear(self._dead(), None)
        self._choose_gradient()

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Follow one step of the optimizer; call it right after `optimizer.step()`.

        Dead weights are set back to zero with every tensor of their shape in the optimizer's state.
        When the method is due, its new masks are applied: a dropped or grown connection starts from
        zero, in its weight and in the optimizer's state. One that was dropped and grown again in
        the same update never left.

        Returns:
            Whether the method was due, so that the masks may have changed.

        Raises:
            ValueError: The optimizer does not hold a chosen weight, or a gradient the method needs
                is absent.
            NaNError: The method has to choose among weights or gradients that hold NaN.
        """
        self._refuse_foreign(optimizer)
        self._clear(self._dead(), optimizer)
        due = self._method.due(self._step + 1)
        if due:
            masks, state = self._method.update(
                self._connections(), self._step + 1, self._state, self._generator
            )
            before = self._masks
            self._set_masks(masks)
            self._state = state
            changed = {name: before[name] ^ mask for name, mask in self._masks.items()}
            self._clear(changed, optimizer)
        self._step += 1
        self._choose_gradient()
        return due

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

    def state_dict(self) -> dict[str, Any]:
        """Everything that continues this topology bit for bit: tensors and plain JSON values."""
        return {
            "step": self._step,
            "density": self._density,
            "description": self._method.describe(),
            "generator": self._generator.get_state(),
            **{_MASK + name: mask.clone() for name, mask in self._masks.items()},
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
        masks = _with_prefix(state, _MASK)
        try:
            check_masks(masks, {name: weight.shape for name, weight in self._weights.items()})
        except TypeError as error:
            raise ValueError(str(error)) from error
        if unknown := [
            name for name in state if name not in fixed and not name.startswith((_MASK, _METHOD))
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
        self._state = _with_prefix(state, _METHOD)
        self._set_masks(masks)
        self._clear(self._dead(), None)
        self._choose_gradient()

    def _values(self) -> dict[str, Tensor]:
        return {name: weight.detach() for name, weight in self._weights.items()}

    def _dead(self) -> dict[str, Tensor]:
        return {name: ~mask for name, mask in self._masks.items()}

    def _connections(self) -> Connections:
        gradients = {}
        for name, weight in self._weights.items() if self._method.needs_gradient else ():
            if weight.grad is None:
                raise ValueError(
                    f"the method must see the gradient of {name}, got none: call topology.step "
                    "between optimizer.step and optimizer.zero_grad"
                )
            gradients[name] = weight.grad.to_dense() if weight.grad.is_sparse else weight.grad
        return Connections(
            weights=self._values(), masks=self._masks, gradients=gradients, density=self._density
        )

    def _set_masks(self, masks: Masks) -> None:
        check_masks(masks, {name: weight.shape for name, weight in self._weights.items()})
        self._masks = {
            name: masks[name].to(weight.device, copy=True) for name, weight in self._weights.items()
        }
        for module, names in self._masked_modules:
            module.set_masks({local: self._masks[name] for local, name in names.items()})

    @torch.no_grad()
    def _clear(self, entries: Masks, optimizer: torch.optim.Optimizer | None) -> None:
        """Set these entries to zero in each weight and in all state of its shape."""
        for name, weight in self._weights.items():
            state = optimizer.state.get(weight, {}) if optimizer else {}
            same_shape = [
                value
                for value in state.values()
                if isinstance(value, Tensor) and value.shape == weight.shape
            ]
            for tensor in (weight, *same_shape):
                # not a product with the mask: that would keep NaN and turn infinity into it
                tensor.masked_fill_(entries[name], 0)

    def _choose_gradient(self) -> None:
        if self._method.needs_gradient:
            kind = "dense" if self._method.due(self._step + 1) else "masked"
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
