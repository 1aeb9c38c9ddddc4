"""Random numbers that belong to one owner."""

import pytest
import torch

from lsh_native.training.random_stream import RandomStream

CPU = torch.device("cpu")


def draws(stream, count):
    numbers = []
    for _ in range(count):
        with stream:
            numbers.append(torch.rand(()).item())
    return numbers


def test_goes_on_where_it_stopped():
    expected = torch.rand(4, generator=torch.Generator().manual_seed(3)).tolist()
    assert draws(RandomStream(3, CPU), 4) == expected


def test_does_not_disturb_others_nor_is_disturbed():
    expected = draws(RandomStream(3, CPU), 2)
    stream = RandomStream(3, CPU)
    torch.manual_seed(0)
    undisturbed = torch.rand(2).tolist()
    torch.manual_seed(0)
    mixed = [torch.rand(()).item(), *draws(stream, 2), torch.rand(()).item()]
    assert mixed == [undisturbed[0], *expected, undisturbed[1]]


def test_leaves_the_global_numbers_alone_after_an_error():
    before = torch.get_rng_state()

    def stop_inside():
        with RandomStream(1, CPU):
            torch.rand(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_inside()
    assert torch.equal(torch.get_rng_state(), before)


def test_state_continues():
    stream = RandomStream(3, CPU)
    draws(stream, 2)
    other = RandomStream(4, CPU)
    other.load_state_dict(stream.state_dict())
    assert draws(other, 3) == draws(stream, 3)


@pytest.mark.parametrize(
    "states", [{}, {"cpu": torch.zeros(3, dtype=torch.uint8)}, {"cpu": torch.zeros(5056)}]
)
def test_foreign_state(states):
    with pytest.raises(ValueError, match="must be a stream's on cpu"):
        RandomStream(0, CPU).load_state_dict(states)
