"""Layouts, tiles and schedules that host and device share."""

import ctypes

import pytest
from host_kernels import HostKernels

H200 = (132, 227 << 10, 1)
FACTS = (
    *("possible", "units", "blocks", "threads", "staged", "room", "shared_bytes"),
    *("gates", "values", "starts", "columns"),
)


def numbers(*values: int) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(values))(*values)


def plan(
    kernels: HostKernels,
    *,
    gates: int = 4,
    hidden: int,
    lanes: int = 20,
    depth: int = 1,
    ragged: bool = False,
    limits: tuple[int, int, int] = H200,
) -> tuple[str, dict[str, int]]:
    call = kernels.function("simt_plan")
    call.restype = ctypes.c_char_p
    out = numbers(*[0] * len(FACTS))
    why = call(numbers(gates, hidden, lanes, depth, 4, ragged), numbers(*limits), out)
    return why.decode(), dict(zip(FACTS, out, strict=True))


@pytest.mark.parametrize(
    ("gates", "hidden", "lanes", "depth"),
    [(4, 1500, 20, 1), (4, 768, 16, 1), (4, 4096, 20, 1), (2, 830, 20, 10), (4, 1, 4, 1)],
)
def test_every_unit_has_one_block_and_all_blocks_fit(
    kernels: HostKernels, gates: int, hidden: int, lanes: int, depth: int
) -> None:
    why, found = plan(kernels, gates=gates, hidden=hidden, lanes=lanes, depth=depth)
    assert found["possible"], why
    assert found["blocks"] <= H200[0]
    assert (found["blocks"] - 1) * found["units"] < hidden <= found["blocks"] * found["units"]
    assert found["threads"] % 32 == 0
    assert 32 <= found["threads"] <= 1024
    assert found["shared_bytes"] <= H200[1]
    # one region after another, each aligned for what it holds
    rows = depth * gates * found["units"]
    operand = hidden * lanes * 4 if found["staged"] else 0
    assert operand == found["gates"]
    assert found["values"] - found["gates"] == gates * found["units"] * lanes * 4
    assert found["starts"] - found["values"] == 4 * found["room"]
    assert found["columns"] - found["starts"] == 4 * (rows + 1)
    assert found["shared_bytes"] - found["columns"] == 2 * found["room"]
    assert found["gates"] % 16 == found["values"] % 16 == found["starts"] % 4 == 0


def test_a_layer_of_1500_units_stays_on_an_h200(kernels: HostKernels) -> None:
    _, found = plan(kernels, hidden=1500)
    assert (found["units"], found["blocks"], found["staged"]) == (12, 125, 1)
    assert found["room"] > 2 * 0.1 * 4 * 12 * 1500  # twice what 90 % sparsity leaves of a block


def test_states_too_many_for_a_block_stay_outside(kernels: HostKernels) -> None:
    assert not plan(kernels, hidden=4096)[1]["staged"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"hidden": 70_000}, "at most 65536 units"),
        ({"hidden": 100, "depth": 17}, "at most 16 micro-steps"),
        ({"hidden": 100, "ragged": True}, "must move the whole batch"),
        ({"hidden": 100, "limits": (132, 227 << 10, 0)}, "hold all blocks of a launch"),
        ({"hidden": 5000, "lanes": 1024}, "must fit its shared memory"),
        ({"hidden": 100, "lanes": 0}, "must be a batch"),
    ],
)
def test_a_refusal_says_why(kernels: HostKernels, changes: dict[str, int], why: str) -> None:
    said, found = plan(kernels, **changes)
    assert why in said
    assert not found["possible"]


def test_tiles_of_a_triangle_come_once(kernels: HostKernels) -> None:
    call, out, found = kernels.function("simt_tile_pair"), numbers(0, 0), []
    for index in range(10 * 11 // 2):
        call(ctypes.c_int64(index), out)
        found.append(tuple(out))
    assert sorted(found) == [(row, column) for row in range(10) for column in range(row, 10)]


@pytest.mark.parametrize("bits", [32, 64])
def test_digits_cover_a_key(kernels: HostKernels, bits: int) -> None:
    call, out, place, covered = kernels.function("simt_digit"), numbers(0, 0, 1), 0, bits
    while place < out[2]:
        call(ctypes.c_int64(place), ctypes.c_int64(bits), out)
        assert out[0] + out[1] == covered
        assert 0 < out[1] <= 11
        covered, place = out[0], place + 1
    assert covered == 0
