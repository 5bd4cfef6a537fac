"""Seed, device, number format and machine, with hardware that is only pretended."""

import platform
import random
import re
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import cifar_helpers
from cifar_helpers import runtime


def pretend(monkeypatch, cuda=0, mps=False):
    """A machine with that many CUDA devices, and with or without Apple's MPS."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def draws():
    """One number from each of the global sources."""
    legacy = np.random.random()  # noqa: NPY002 (the global state is what is tested)
    return random.random(), legacy, torch.rand(()).item()


def test_seed_reaches_every_source():
    runtime.seed_everything(3)
    first = draws()
    runtime.seed_everything(3)
    again = draws()
    runtime.seed_everything(4)
    other = draws()
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_seed_returns_a_generator_of_its_own():
    generator = runtime.seed_everything(3)
    expected = torch.rand(5, generator=torch.Generator().manual_seed(3))
    torch.rand(100)  # the global source does not move it
    assert torch.equal(torch.rand(5, generator=generator), expected)


@pytest.mark.parametrize(
    "cuda, mps, expected", [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda")]
)
def test_fastest_device_is_picked(monkeypatch, cuda, mps, expected):
    pretend(monkeypatch, cuda, mps)
    assert runtime.pick_device() == torch.device(expected)
    assert runtime.pick_device("cpu") == torch.device("cpu")


def test_named_device_is_picked(monkeypatch):
    pretend(monkeypatch, cuda=2)
    assert runtime.pick_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize(
    "cuda, name",
    [(0, "cuda"), (0, "mps"), (2, "cuda:2"), (2, "gpu"), (0, ""), (2, "cuda:x")],
)
def test_absent_device_is_explained(monkeypatch, cuda, name):
    pretend(monkeypatch, cuda)
    with pytest.raises(ValueError) as failure:
        runtime.pick_device(name)
    message = str(failure.value)
    assert f"device {name!r} is not there" in message
    assert ("['cuda', 'cpu']" if cuda else "['cpu']") in message
    assert '"auto"' in message


@pytest.mark.parametrize("native", [True, False])
def test_number_format_of_a_gpu(monkeypatch, native):
    asked = []
    monkeypatch.setattr(
        torch.cuda, "device", lambda d: asked.append(d) or nullcontext()
    )
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: native or including_emulation,
    )
    expected = torch.bfloat16 if native else torch.float16  # the T4
    assert runtime.autocast_dtype(torch.device("cuda:1")) == expected
    assert asked == [torch.device("cuda:1")]  # not whichever is current


BF16, AMX = "_is_avx512_bf16_supported", "_is_amx_tile_supported"


@pytest.mark.parametrize(
    "instructions, torchs, onednn, expected, words",
    [
        ((), "AVX512", None, torch.float32, ""),
        ((BF16,), "AVX512", None, torch.bfloat16, ", bfloat16"),
        ((BF16,), "AVX512", "all", torch.bfloat16, ", bfloat16"),
        ((AMX,), "AVX512", "AVX512_CORE_AMX", torch.bfloat16, ", bfloat16"),
        ((BF16,), "AVX512", "AVX10_1_512", torch.bfloat16, ", bfloat16"),
        ((BF16,), "AVX2", "avx2", torch.float32, ", limited to AVX2"),
        ((BF16,), "AVX2", None, torch.float32, ", limited in part to AVX2"),
        ((BF16,), "AVX512", "AVX2", torch.float32, ", limited in part to AVX2"),
        ((BF16,), "NO AVX", "SSE41", torch.float32, ", limited to NO AVX and SSE41"),
        ((), "AVX2", None, torch.float32, ""),  # it can do no more
    ],
)
def test_number_format_of_a_cpu(
    monkeypatch, instructions, torchs, onednn, expected, words
):
    for check in (BF16, AMX):
        monkeypatch.setattr(
            torch.cpu, check, lambda found=check in instructions: found, raising=False
        )
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: torchs)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if onednn:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", onednn)
    assert runtime.autocast_dtype(torch.device("cpu")) == expected
    hardware = runtime.describe_machine()["hardware"]
    assert re.search(r"threads?(.*)$", hardware)[1] == words


def test_number_format_of_a_torch_that_cannot_tell(monkeypatch):
    for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, check, raising=False)
    assert runtime.autocast_dtype(torch.device("cpu")) == torch.float32


def test_number_format_of_other_devices():
    assert runtime.autocast_dtype(torch.device("mps")) == torch.float32


def test_machine_is_described():
    description = runtime.describe_machine()
    assert list(description) == ["hardware", "cores", "python", "torch", "numpy"]
    threads = torch.get_num_threads()
    plural = "s" if threads > 1 else ""
    assert f", {threads} thread{plural}" in description["hardware"]
    assert not description["hardware"].startswith(",")
    assert description["cores"] >= 1
    assert description["numpy"] == np.__version__
    assert torch.__version__.startswith(description["torch"])
    assert "+" not in description["torch"]


def test_gpu_is_described_by_its_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    assert runtime.describe_machine("cuda:1")["hardware"] == "GPU cuda:1"
    monkeypatch.setattr(runtime, "_cpu_name", lambda: "Apple M9")
    assert runtime.describe_machine("mps")["hardware"] == "Apple M9, GPU"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("processor : 0\nmodel name\t: Quick CPU @ 3 GHz\n", "Quick CPU @ 3 GHz"),
        ("processor : 0\n", "some machine"),
        (None, "some machine"),
    ],
)
def test_processor_is_named(monkeypatch, text, expected):
    def read_text(path, encoding):
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "some machine")
    assert runtime._cpu_name() == expected


@pytest.mark.parametrize("said, expected", [("Apple M3\n", "Apple M3"), ("", "arm")])
def test_processor_of_a_mac_is_named(monkeypatch, said, expected):
    def run(command, **_):
        assert command == ["sysctl", "-n", "machdep.cpu.brand_string"]
        return SimpleNamespace(stdout=said)

    monkeypatch.setattr(Path, "read_text", lambda path, encoding: "")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.processor", lambda: "arm")
    monkeypatch.setattr("subprocess.run", run)
    assert runtime._cpu_name() == expected


def test_files_lie_in_the_package():
    package = Path(cifar_helpers.__file__).resolve().parent
    assert package / "weights" == runtime.WEIGHTS
    assert package / "results" == runtime.RESULTS


PAGE_FAULTS = """
import resource
import torch
from cifar_helpers import runtime

print(runtime.keep_freed_memory() if {keep} else False)
for step in range(21):
    if step == 1:  # the first one may need fresh memory
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(12_000_000)  # 48 MB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own setting")
def test_freed_memory_is_kept():
    outputs = {}
    for keep in (False, True):
        command = [sys.executable, "-c", PAGE_FAULTS.format(keep=keep)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        done, faults = run.stdout.split()
        assert done == str(keep)
        outputs[keep] = int(faults)
    assert outputs[True] < outputs[False] / 2


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not runtime.keep_freed_memory()


def test_median_seconds_is_the_time_of_a_call():
    """Of ten calls one takes a hundred times as long: the median does not mind."""
    calls = []

    def work(seconds):
        calls.append(seconds)
        time.sleep(50 * seconds if len(calls) % 10 == 0 else seconds)

    seconds = runtime.median_seconds(work, 0.004, least_seconds=0.3)
    assert 0.004 <= seconds < 0.1 and len(calls) > 3


@pytest.fixture
def headers(monkeypatch, tmp_path):
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(runtime.sysconfig, "get_path", lambda name: str(tmp_path))


@pytest.mark.parametrize("there", [True, False])
def test_a_compiler_is_looked_for(monkeypatch, headers, there):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(
        runtime.shutil, "which", lambda name: "/bin/g++" if there else None
    )
    monkeypatch.setattr(
        runtime.importlib.util, "find_spec", lambda name: object() if there else None
    )
    assert runtime.can_compile(torch.device("cpu")) == there
    assert runtime.can_compile(torch.device("cuda")) == there


def test_compiling_wants_pythons_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime.shutil, "which", lambda name: "/bin/g++")
    monkeypatch.setattr(runtime.sysconfig, "get_path", lambda name: str(tmp_path))
    assert not runtime.can_compile(torch.device("cpu"))
    (tmp_path / "Python.h").touch()
    assert runtime.can_compile(torch.device("cpu"))


def test_on_a_gpu_triton_wants_a_c_compiler(monkeypatch, headers):
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(runtime.shutil, "which", {"gcc": "/bin/gcc"}.get)
    assert runtime.can_compile(torch.device("cuda"))
    monkeypatch.setattr(runtime.shutil, "which", {"g++": "/bin/g++"}.get)
    monkeypatch.delenv("CC", raising=False)
    assert not runtime.can_compile(torch.device("cuda"))


def test_waiting_is_for_the_device_that_was_told(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    for name in ("cpu", "cuda:1", "mps"):
        runtime.synchronize(torch.device(name))
    assert waited == [torch.device("cuda:1"), "mps"]
