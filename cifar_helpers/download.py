"""CIFAR-10's files: found or downloaded, checked, read as NumPy arrays.

`full_arrays` looks in a folder for a packed cache, then for torchvision's copy, then
downloads from the first mirror that delivers; `sample_arrays` reads the small sample
that comes with this package. Nothing is used unless the SHA-256 of each array is right.
torchvision, and torch with it, is imported only where its copy is read.

Source of the data: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
Images", 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

import contextlib
import hashlib
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np

from cifar_helpers.mirrors import MirrorsFailed, fetch_archive

FULL_SHA256 = {  # of each array's bytes: uint8, C order
    "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}
SAMPLE_SHA256 = {
    "train_images": "4e5ac895e46a9b569a45d0220f845bd1c317a6bbb96ae905af26bf5b6ca10a16",
    "train_labels": "cc4c5aa56e0ea34249936cd7a5956a98ebba578dba9473e0684b0d70ce1161df",
    "test_images": "cc2bd4479eda140793858a9ea7f9016e6870fefd7f69f172720267e933ec44a5",
    "test_labels": "bf5fd7ab55257c7eeece32a36d229c4767d2479b59c8d506b7e35494f9cbf574",
}
SAMPLE_FILE = Path(__file__).parent / "sample" / "cifar10_sample.npz"

NOT_THERE = "is not there"
CERTIFICATE_HELP = (
    "Python does not trust the certificate. On macOS, run 'Install "
    "Certificates.command' in Python's folder under Applications. Behind a proxy that "
    "opens HTTPS, set SSL_CERT_FILE to a file with the proxy's certificate (PEM)"
)


class DataUnavailable(RuntimeError):
    """No place has the data; the message lists every place with its reason.

    reason: why, in one line: what the first mirror answered.
    """

    def __init__(self, message: str, reason: str = ""):
        super().__init__(message)
        self.reason = reason


class CacheFolderError(RuntimeError):
    """The cache folder cannot be written: read-only, full, or not a folder."""


def cache_folder(root=None) -> Path:
    """The folder for the data: `root`, else `$CIFAR10_ROOT`, else the user's cache.

    Raises `CacheFolderError` where `~` or `~name` stands for no home folder.
    """
    root = root or os.environ.get("CIFAR10_ROOT")
    try:
        if root:
            return Path(root).expanduser()
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise CacheFolderError(
            f"there is no home folder for {root or '~'}: set CIFAR10_ROOT (or "
            "root=...) to the full name of a folder"
        ) from error
    return Path(cache) / "cifar_helpers"


def sample_arrays() -> dict[str, np.ndarray]:
    """The four arrays of the bundled sample; `DataUnavailable` if it is damaged."""
    arrays, problem = read_arrays(SAMPLE_FILE, SAMPLE_SHA256)
    if problem:
        raise DataUnavailable(
            f"the bundled sample {SAMPLE_FILE} {problem}: install cifar_helpers again"
        )
    return arrays


def full_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The four arrays from the first place that has them, packed for the next time.

    uint8: `train_images` (50000, 32, 32, 3), `train_labels` (50000,), `test_images`
    (10000, 32, 32, 3), `test_labels` (10000,). Raises `DataUnavailable` if no place has
    them, `CacheFolderError` if they must be stored and `folder` cannot be written.
    """
    if os.path.isfile(folder):
        raise CacheFolderError(
            f"{folder} is a file. CIFAR10_ROOT (or root=...) must name the folder that "
            "holds cifar10.npz, or is to hold it"
        )
    packed = folder / "cifar10.npz"
    arrays, problem = read_arrays(packed, FULL_SHA256)
    if not problem:
        return arrays
    if problem != NOT_THERE:
        print(f"{packed} {problem}: it is not used; looking for a good copy.")
    tried = [(packed, problem)]
    batches, problem = _read_batches(folder)
    tried.append((folder / "cifar-10-batches-py", problem))
    try:
        with _locked(folder):  # one process fetches, the others wait and find the cache
            arrays, problem = read_arrays(packed, FULL_SHA256)
            if problem:
                arrays = batches or _download(folder, tried)
                _pack(arrays, folder)
    except CacheFolderError as error:
        if batches is None:
            raise
        print(f"{error}\nReading torchvision's copy, which takes longer.")
        return batches
    return arrays


def read_arrays(path: Path, sha256) -> tuple[dict[str, np.ndarray] | None, str]:
    """Read and check an .npz file of arrays -> (arrays, "") or (None, what is wrong).

    sha256: for each array's name, the SHA-256 that its bytes must have.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in sha256}
    except (FileNotFoundError, NotADirectoryError):
        return None, NOT_THERE
    except OSError as error:
        return None, f"cannot be read ({error.strerror or error})"
    except Exception as error:  # damage shows as errors of about twenty kinds
        return None, f"is damaged ({_one_line(error)})"
    problem = _problem(arrays, sha256)
    return (None, f"is damaged ({problem})") if problem else (arrays, "")


def _problem(arrays, sha256) -> str:
    """What is wrong with the four arrays, or the empty string."""
    for name, wanted in sha256.items():
        array = arrays[name]
        shape = (32, 32, 3) if name.endswith("images") else ()
        if array.dtype != np.uint8 or array.shape != array.shape[:1] + shape:
            return f"{name} is {array.dtype} {array.shape}"
        if hashlib.sha256(np.ascontiguousarray(array)).hexdigest() != wanted:
            return f"{name} has a wrong SHA-256"
    return ""


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _read_batches(folder: Path) -> tuple[dict[str, np.ndarray] | None, str]:
    """Read torchvision's layout -> (arrays, "") or (None, what is wrong)."""
    if not os.path.isdir(folder / "cifar-10-batches-py"):
        return None, NOT_THERE
    from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10

    arrays = {}
    try:
        for name, train in (("train", True), ("test", False)):
            part = TorchvisionCIFAR10(folder, train=train, download=False)
            arrays[f"{name}_images"] = np.ascontiguousarray(part.data, np.uint8)
            arrays[f"{name}_labels"] = np.array(part.targets, np.uint8)
    except (RuntimeError, OSError) as error:  # its MD5 checks fail with a RuntimeError
        return None, f"is damaged or not whole ({_one_line(error)})"
    problem = _problem(arrays, FULL_SHA256)
    return (None, f"holds other data ({problem})") if problem else (arrays, "")


def _pack(arrays, folder: Path) -> None:
    """Write `cifar10.npz` elsewhere, move it into place, clear the download away."""
    packed, work = folder / "cifar10.npz", folder / "cifar10-download"
    half = work / "cifar10.npz"
    with _storing(folder):
        work.mkdir(exist_ok=True)
        try:
            np.savez(half, **arrays)
        except OSError:
            half.unlink(missing_ok=True)
            raise
        if packed.exists():
            os.replace(packed, folder / "cifar10.damaged.npz")
        os.replace(half, packed)
    shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _storing(folder: Path):
    """Turn a file system's error into one that names the folder and the remedy."""
    try:
        yield
    except OSError as error:
        raise CacheFolderError(
            f"the folder {folder} cannot keep CIFAR-10 ({error.strerror or error}). "
            "It must be possible to write and to lock files there, and 400 MB must be "
            "free. Set CIFAR10_ROOT (or root=...) to such a folder, or take the small "
            'sample with source="sample".'
        ) from error


@contextlib.contextmanager
def _locked(folder: Path):
    """Let one process at a time write; the lock of a dead process is free again."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "cifar10.lock")
    with _storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=1)
        except Timeout:
            print("Another process is fetching CIFAR-10; waiting for it.")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(folder: Path, tried: list) -> dict[str, np.ndarray]:
    """Fetch and unpack the archive; add to `tried` what failed."""
    work = folder / "cifar10-download"
    archive = work / "cifar-10-python.tar.gz.part"
    try:
        with _storing(folder):
            fetch_archive(archive)
    except MirrorsFailed as error:
        raise _unavailable([*tried, *error.tried]) from error
    try:
        with _storing(folder):
            _unpack(archive, work / "cifar-10-batches-py")
        arrays, problem = _read_batches(work)
    finally:
        shutil.rmtree(work / "cifar-10-batches-py", ignore_errors=True)
    if problem:
        raise _unavailable([*tried, (archive, f"unpacked, it {problem}")])
    return arrays


def _unpack(archive: Path, folder: Path) -> None:
    """Write the archive's files into `folder`, each under the last part of its name.

    Instead of `extractall(filter="data")`, which came with Python 3.11.4.
    """
    folder.mkdir(exist_ok=True)
    with tarfile.open(archive) as stored:
        for member in stored:
            if member.isfile():
                content = stored.extractfile(member).read()
                (folder / Path(member.name).name).write_bytes(content)


def _unavailable(tried) -> DataUnavailable:
    places = "\n".join(f"  - {place}: {reason}" for place, reason in tried)
    reasons = [reason for _, reason in tried]
    untrusted = [reason for reason in reasons if "CERTIFICATE_VERIFY_FAILED" in reason]
    reason = (reasons[2:] or reasons)[0]  # the first two places are in the folder
    remedy = ""
    if untrusted:
        reason = f"{untrusted[0]}. {CERTIFICATE_HELP}"
        remedy = f"{CERTIFICATE_HELP}; or "
    return DataUnavailable(
        f"CIFAR-10 was not found and could not be downloaded. Places tried:\n{places}\n"
        f"What to do: {remedy}connect to the network and try again (an interrupted "
        "download goes on where it stopped); or set CIFAR10_ROOT to a folder with "
        "cifar10.npz or cifar-10-batches-py; or set CIFAR10_URL to an address of "
        "cifar-10-python.tar.gz that can be reached (https://..., or "
        'file:///... for a copy on this machine); or use source="sample".',
        reason,
    )
