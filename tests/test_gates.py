"""What the scripts of .ci/ read out of nm's and ptxas' answers."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

GATES = Path(__file__).resolve().parents[1] / ".ci"

pytestmark = pytest.mark.skipif(not GATES.is_dir(), reason="needs the source tree")


@pytest.fixture
def script(request, monkeypatch) -> ModuleType:
    """The script of .ci/ that the test names, as a module."""
    name = request.param
    spec = importlib.util.spec_from_file_location(name, GATES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", ["check_symbols"], indirect=True)
@pytest.mark.parametrize(
    ("symbol", "fault"),
    [
        ("memcpy@GLIBC_2.14", None),
        ("_ZSt9terminatev@GLIBCXX_3.4", None),
        ("torch_new_list_reserve_size", None),
        ("torch_exception_get_what", "torch_exception_get_what is younger than the target"),
        ("_ZN2at3addEi", "at::add(int) is no C function of the stable ABI"),
        ("_ZN3c106DeviceD1Ev", "c10::Device::~Device() is no C function of the stable ABI"),
        ("lsh_forgotten", "lsh_forgotten is no C function of the stable ABI"),
    ],
)
def test_symbols(script, symbol, fault):
    target = {"torch_new_list_reserve_size"}
    newest = target | {"torch_exception_get_what"}
    assert script.faults({symbol}, target, newest) == ([fault] if fault else [])


@pytest.mark.parametrize("script", ["check_symbols"], indirect=True)
def test_the_target_has_fewer_functions_than_the_installed_torch(script):
    include = script.torch_include()
    target = script.declared(include, f"-DTORCH_TARGET_VERSION={script.TARGET}")
    newest = script.declared(include)
    assert {
        "aoti_torch_get_sizes",
        "torch_parallel_for",
        "aoti_torch_get_current_cuda_stream",
    } <= target
    assert target <= newest


@pytest.mark.parametrize("script", ["compile_cuda"], indirect=True)
def test_kernels_of_a_ptxas_log(script):
    log = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4stepv' for 'sm_90a'
ptxas info    : Function properties for _Z4stepv
    144 bytes stack frame, 120 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 1024 bytes smem
ptxas info    : Compiling entry function '_Z4copyv' for 'sm_90a'
ptxas info    : Function properties for _Z4copyv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers
"""
    step, copy = script.kernels(log)
    assert step == script.Kernel(
        symbol="_Z4stepv", registers=255, stack=144, spilled=144, shared=1024
    )
    assert copy == script.Kernel(symbol="_Z4copyv", registers=10, stack=0, spilled=0, shared=0)
    assert script.demangle(["_Z4stepv"]) == ["step"]
    assert script.faults(step) == ["SPILLS", "MORE THAN 128 REGISTERS"]
    assert script.faults(copy) == []
