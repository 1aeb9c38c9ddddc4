"""One check: every entry of a tensor is finite, or an error says which is not."""

from collections.abc import Sequence

from torch import Tensor


class NonFiniteTangentError(ValueError):
    """A tangent vector holds NaN or infinity: the dynamics or their linearisation diverged."""


def require_finite(
    name: str,
    values: Tensor,
    axes: Sequence[str],
    error: type[ValueError] = ValueError,
) -> None:
    """Raises `error` with the place of the first entry of `values` that is NaN or infinite.

    Args:
        name: what the tensor is called in the message.
        values: any tensor.
        axes: what its axes count, one word each.
        error: what to raise.
    """
    finite = values.isfinite()
    if not finite.all():
        index = (~finite).nonzero()[0].tolist()
        place = ", ".join(f"{axis} {i}" for axis, i in zip(axes, index, strict=True))
        raise error(f"{name} must be finite, got {values[tuple(index)].item()} at {place}")
