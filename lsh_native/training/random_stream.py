"""A private course of the global random numbers, for modules that draw from nowhere else."""

from collections.abc import Mapping
from types import TracebackType

import torch
from torch import Tensor


class RandomStream:
    """Global random numbers that belong to one owner.

    `torch.nn.Dropout` draws from the global generator. Inside `with stream:` that generator goes on
    where this stream last stopped; after it, it stands where it stood before. So the owner's
    numbers depend on the seed alone, and nobody else's numbers depend on the owner.

    Args:
        seed: Where the stream starts.
        device: The device whose global generator is meant, beside the CPU's.

    Example:
        >>> stream = RandomStream(seed=0, device=torch.device("cpu"))
        >>> with stream:
        ...     first = torch.rand(2)
        >>> with stream:
        ...     second = torch.rand(2)
        >>> generator = torch.Generator().manual_seed(0)
        >>> bool((torch.rand(2, generator=generator) == first).all())
        True
        >>> bool((torch.rand(2, generator=generator) == second).all())
        True
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        devices = {"cpu": torch.device("cpu"), device.type: device}
        self._own = {
            name: torch.Generator(where).manual_seed(seed).get_state()
            for name, where in devices.items()
        }
        self._outside: dict[str, Tensor] = {}

    def __enter__(self) -> None:
        self._outside = self._exchange(self._own)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._own = self._exchange(self._outside)

    def state_dict(self) -> dict[str, Tensor]:
        """Where the stream stands: a uint8 tensor for each generator."""
        return dict(self._own)

    def load_state_dict(self, states: Mapping[str, Tensor]) -> None:
        """Go on from where another stream stood.

        Raises:
            ValueError: `states` is not a stream's of this kind of device.
        """
        if states.keys() != self._own.keys() or any(
            states[name].shape != own.shape or states[name].dtype != own.dtype
            for name, own in self._own.items()
        ):
            raise ValueError(f"random numbers must be a stream's on {self._device.type}")
        self._own = dict(states)

    def _exchange(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        replaced = {"cpu": torch.get_rng_state()}
        torch.set_rng_state(states["cpu"])
        if self._device.type == "cuda":
            replaced["cuda"] = torch.cuda.get_rng_state(self._device)
            torch.cuda.set_rng_state(states["cuda"], self._device)
        return replaced
