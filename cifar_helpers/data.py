"""CIFAR-10 as tensors in memory.

`load_cifar10` takes the images from where `cifar_helpers.download` finds them, or from
the small sample that comes with this package. `split` cuts off a validation part,
`Batches` cuts mini-batches out of memory, and `normalize` turns their bytes into what
the network reads. To get the data now, from a shell:

    python -m cifar_helpers.data

Source of the data: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
Images", 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

import argparse
import copy
import math
import operator
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cifar_helpers.download import (
    CacheFolderError,
    DataUnavailable,
    cache_folder,
    full_arrays,
    sample_arrays,
)

CLASSES = (
    "airplane",  # label 0
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",  # label 9
)
MEAN = (0.4914, 0.4822, 0.4465)  # red, green, blue of the training images, in [0, 1]
STD = (0.2470, 0.2435, 0.2616)

SOURCES = ("auto", "full", "sample")
SAMPLE_PER_CLASS = {"train": 200, "test": 100}  # images of each class


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with their labels, whole in memory, on one device.

    Raises `TypeError` for a wrong kind or dtype, `ValueError` for a wrong shape,
    unequal lengths, two devices, or a label outside 0..9. What `subset` and `to` give
    is not checked again, because reading labels would make a GPU wait.
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
        that is neither positions nor a mask, `ValueError` for positions that are not
        one after another (N,) and for a mask of another length.
        """
        positions = _positions(index, len(self)).to(self.labels.device)
        return self._unchecked(
            self.images.index_select(0, positions),
            self.labels.index_select(0, positions),
        )

    def to(self, device) -> "LabelledImages":
        """The same images and labels on another device."""
        return self._unchecked(self.images.to(device), self.labels.to(device))

    def _unchecked(self, images, labels) -> "LabelledImages":
        part = copy.copy(self)  # does not call __post_init__
        object.__setattr__(part, "images", images)
        object.__setattr__(part, "labels", labels)
        return part


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
    if isinstance(index, np.ndarray):
        index = index.copy()  # torch takes no negative strides
    try:
        index = torch.as_tensor(index)
    except RuntimeError as error:  # None, a set
        kind = type(index).__name__
        raise TypeError(f"index must be positions or a mask, got {kind}") from error
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
    channels = []
    for channel in range(3):  # MEAN as a tensor would be copied to a GPU every time
        scaled = images[:, channel].float() / 255  # (N, H, W), in [0, 1]
        channels.append((scaled - MEAN[channel]) / STD[channel])
    return torch.stack(channels, dim=1)  # (N, 3, H, W)


class Batches:
    """Mini-batches of (images uint8, labels), cut from memory where the data lie.

    With `shuffle`, each pass draws a new order from torch's own generator. The last
    batch may be smaller. Every batch is a copy, so writing to it leaves the data as
    they are. Raises `ValueError` if `batch_size` is below one.
    """

    def __init__(self, part: LabelledImages, batch_size: int, shuffle: bool = False):
        self.part, self.shuffle = part, shuffle
        self.batch_size = operator.index(batch_size)
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")

    def __len__(self) -> int:
        return math.ceil(len(self.part) / self.batch_size)

    def __iter__(self):
        images, labels = self.part.images, self.part.labels
        count = len(labels)
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        order = order.to(labels.device)
        for start in range(0, count, self.batch_size):
            index = order[start : start + self.batch_size]
            yield images.index_select(0, index), labels.index_select(0, index)


def load_cifar10(root=None, source: str = "auto") -> CIFAR10:
    """CIFAR-10 as two `LabelledImages`: 50,000 for training and 10,000 for testing.

    In the folder `root` (else `$CIFAR10_ROOT`, else a cache folder of the user's) it
    looks for

    1. `cifar10.npz`, the packed cache; every array's SHA-256 is checked,
    2. `cifar-10-batches-py`, torchvision's layout; its MD5 checks stay on,

    and then downloads the archive: from `$CIFAR10_URL` if that is set, then from the
    mirrors of `cifar_helpers.mirrors`. A mirror that breaks off is asked again after a
    pause; one that fails or crawls gives way to the next; if all crawl, the fastest of
    them finishes. What was found is packed once as `cifar10.npz`; after that, the
    downloaded archive and what was unpacked from it are removed. An interrupted
    download stays in `cifar10-download` and goes on from there the next time. A damaged
    `cifar10.npz` is never used: when there is a new one, the old one is kept as
    `cifar10.damaged.npz`.

    source: `"auto"` falls back to the bundled sample (2,000 and 1,000 images) and says
    so in one line, with the reason, when no place has the data. `"full"` raises
    `DataUnavailable` then, with every place and its reason. `"sample"` takes the sample
    at once. Where `$CIFAR10_SOURCE` is set, it says what `"auto"` means.

    Raises `CacheFolderError`, with `"auto"` too, if the data are not there yet and the
    folder cannot be written (it is a file or read-only, or the disk is full): that is
    for you to mend. Data that are there are read from a read-only folder as well.
    """
    name = "source"
    if source == "auto" and os.environ.get("CIFAR10_SOURCE"):
        name, source = "the variable CIFAR10_SOURCE", os.environ["CIFAR10_SOURCE"]
    if source not in SOURCES:
        raise ValueError(f"{name} must be one of {SOURCES}, got {source!r}")
    if source != "sample":
        try:
            return _as_dataset(full_arrays(cache_folder(root)), "full")
        except DataUnavailable as error:
            if source == "full":
                raise
            print(
                "CIFAR-10 could not be downloaded; using the bundled sample of 2,000 "
                f"training and 1,000 test images. Reason: {error.reason}. "
                '(All places tried: load_cifar10(source="full").)'
            )
    return _as_dataset(sample_arrays(), "sample")


def _as_dataset(arrays, source: str) -> CIFAR10:
    def part(name):
        images = torch.from_numpy(arrays[f"{name}_images"])  # (N, 32, 32, 3)
        images = images.permute(0, 3, 1, 2).contiguous()  # (N, 3, 32, 32)
        return LabelledImages(images, torch.from_numpy(arrays[f"{name}_labels"]).long())

    return CIFAR10(part("train"), part("test"), source=source)


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
    path = cache_folder(options.root) / "cifar10.npz"
    where = path if path.exists() else path.parent  # torchvision's files are there
    print(
        f"{where}: {len(data.train):,} training and {len(data.test):,} test images, "
        "checked"
    )
    if options.make_sample:
        _make_sample(Path(options.make_sample), data)


if __name__ == "__main__":
    main()
