"""Methods as variants of others: new defaults, and slots that controls of their own decide."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Signature, signature
from typing import Any, TypeAlias

from lsh_native.pruning.method import PruningMethod

Slots: TypeAlias = Mapping[str, Any]
Maker: TypeAlias = Callable[..., PruningMethod]


def derived(base: Maker, **defaults: Any) -> Callable[[Callable[..., Slots]], Maker]:
    """Turn a function that names slots into a function that makes a method of them.

    The result takes the controls of the function and those of the base that it leaves open, with
    these defaults, all by keyword.

    Args:
        base: Makes the method that this one varies.
        defaults: Of controls of the base.

    Example:
        >>> from lsh_native.pruning.rewiring import rigl
        >>> @derived(rigl, every=500)
        ... def seldom() -> Slots:
        ...     return {}
        >>> seldom().schedule.every, seldom(every=7).schedule.every
        (500, 7)
    """

    def derive(slots: Callable[..., Slots]) -> Maker:
        own, inherited = signature(slots).parameters, signature(base).parameters
        decided = {*own, *slots()}
        open_ = {name: control for name, control in inherited.items() if name not in decided}
        controls = [
            *own.values(),
            *(
                control.replace(default=defaults.get(name, control.default))
                for name, control in open_.items()
            ),
        ]

        @wraps(slots)
        def make(**given: Any) -> PruningMethod:
            if unknown := sorted(given.keys() - own.keys() - open_.keys()):
                raise TypeError(f"{slots.__name__} must be told none of {unknown}")
            chosen = slots(**{name: given.pop(name) for name in own if name in given})
            return base(**{**defaults, **given, **chosen})

        make.__dict__["__signature__"] = Signature(controls)
        return make

    return derive
