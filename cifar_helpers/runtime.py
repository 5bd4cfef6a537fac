"""Seed, device, versions, memory, and where the package's files live."""

import ctypes
import importlib.util
import os
import platform
import random
import shutil
import statistics
import subprocess
import sysconfig
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

PACKAGE = Path(__file__).resolve().parent
WEIGHTS = PACKAGE / "weights"
RESULTS = PACKAGE / "results"


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, NumPy and torch; return a fresh CPU generator with the same seed."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries that still use the global state)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def pick_device(name: str = "auto") -> torch.device:
    """The named device; `"auto"` is the fastest: CUDA, then MPS, then CPU.

    Raises ValueError where the named device is not there.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    name = str(name)
    if name == "auto":
        return torch.device(available[0])
    kind, colon, index = name.partition(":")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    there = not colon or (index.isdigit() and int(index) < count)
    if kind not in available or not there:
        raise ValueError(
            f"device {name!r} is not there; this machine has {available}. "
            'Use "auto" to take the fastest.'
        )
    return torch.device(name)


def autocast_dtype(device: torch.device) -> torch.dtype:
    """The number format that is fastest for matrix products without losing training.

    bfloat16 where the hardware multiplies it (GPUs since Ampere, CPUs with AVX-512-BF16
    or AMX); float16 on the GPUs before (the T4): its small gradients vanish unless the
    loss is scaled, which `Trainer` does; float32 elsewhere: a CPU without such
    instructions, or one that the environment forbids them (`ATEN_CPU_CAPABILITY`,
    `ONEDNN_MAX_CPU_ISA`), only emulates bfloat16, and is many times slower with it.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):  # the question is for the current one
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    if device.type == "cpu" and _cpu_multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


def _cpu_has_bfloat16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def _cpu_limits() -> list[str]:
    """What a processor with bfloat16 is held to by the environment, if it is.

    ATEN_CPU_CAPABILITY says it to torch, ONEDNN_MAX_CPU_ISA to the library that does
    its convolutions and matrix products.
    """
    if not _cpu_has_bfloat16():
        return []
    torchs = torch.backends.cpu.get_cpu_capability()
    onednn = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    enough = ("ALL", "DEFAULT", "BF16", "FP16", "AMX", "AVX10")
    limits = [] if torchs.startswith("AVX512") else [torchs]
    return limits + ([] if any(word in onednn for word in enough) else [onednn])


def _cpu_multiplies_bfloat16() -> bool:
    return _cpu_has_bfloat16() and not _cpu_limits()


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done all that it was told; a CPU is never behind."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def can_compile(device: torch.device) -> bool:
    """Whether `torch.compile` finds what it writes programs with for this device.

    For a CPU a C++ compiler (`$CXX`, or one of the usual names), for CUDA Triton and
    the C compiler that it calls (`$CC`, gcc or clang); for both Python's headers, which
    some systems have in a package of their own (python3-dev).
    """
    headers = sysconfig.get_path("include")
    if not (headers and Path(headers, "Python.h").exists()):
        return False
    names = (os.environ.get("CXX"), "c++", "g++", "clang++", "cl")
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            return False
        names = (os.environ.get("CC"), "gcc", "clang")
    return any(name and shutil.which(name) for name in names)


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors for the next ones.

    A training step on a CPU frees hundreds of tensors and asks for as many. glibc gives
    large blocks back to the kernel, and every new one is filled with zeros, page by
    page; here it is told to keep them (mallopt(3): M_TRIM_THRESHOLD, M_MMAP_THRESHOLD).
    Results are the same. Returns False where the C library is another one.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_threshold = -1, -3  # names in malloc.h
    mallopt = ctypes.CDLL(None).mallopt
    kept = mallopt(trim_threshold, 2**31 - 1)  # bytes
    mapped = any(mallopt(mmap_threshold, size) for size in (2**30, 2**25))  # old glibc
    return bool(kept and mapped)


def median_seconds(function, *inputs, least_seconds: float = 0.2) -> float:
    """The median time of `function(*inputs)`, called for a while after one to warm up.

    Waits until a GPU is done. (`torch.utils.benchmark` does more, but its import prints
    a warning where torch is built for a GPU that is not there.)
    """
    device, seconds = pick_device(), []
    while len(seconds) < 4 or sum(seconds[1:]) < least_seconds:
        started = time.perf_counter()
        function(*inputs)
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def describe_machine(device: torch.device | str = "cpu") -> dict:
    """What stands beside a measurement: hardware, cores, versions."""
    device = torch.device(device)
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    elif device.type == "mps":
        hardware = f"{_cpu_name()}, GPU"
    else:
        threads = torch.get_num_threads()
        hardware = f"{_cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"
        if _cpu_multiplies_bfloat16():
            hardware += ", bfloat16"  # such a processor trains twice as fast
        elif limits := _cpu_limits():
            in_part = "in part " if len(limits) == 1 else ""
            hardware += f", limited {in_part}to {' and '.join(dict.fromkeys(limits))}"
    return {
        "hardware": hardware,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "numpy": metadata.version("numpy"),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.split(":")[1].strip() for line in lines if "model name" in line
        )
    except (OSError, StopIteration):
        known = ""
        if platform.system() == "Darwin":  # where `processor` says "arm"
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            known = subprocess.run(command, capture_output=True, text=True).stdout
        return known.strip() or platform.processor() or platform.machine()
