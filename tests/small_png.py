"""Make a picture's file small where it does not show."""

from io import BytesIO

import numpy as np
from PIL import Image

MEAN_ERROR, LARGEST_ERROR = 2, 32  # of a palette: root mean square and most, of 255
MANY_COLOURS = 10_000  # no palette stands for more, and the search would take seconds


def shrink(png: bytes, step: int = 5) -> bytes:
    """The same picture as a smaller PNG, or as it is where that is not smaller.

    A palette of 256 colours is used if it keeps the values of the picture: no further
    off than `MEAN_ERROR` in the root mean square and `LARGEST_ERROR` anywhere. Else, as
    in photographs, values are rounded to steps of `step` from white on, no further off
    than half a step. A picture that is partly transparent stays as it is.
    """
    picture = Image.open(BytesIO(png))
    if "A" in picture.getbands() and picture.getchannel("A").getextrema()[0] < 255:
        return png
    picture = picture.convert("RGB")
    palette = best_palette(picture)
    small = as_png(rounded(picture, step) if palette is None else palette)
    return min(png, small, key=len)


def best_palette(picture: Image.Image) -> Image.Image | None:
    """The picture with 256 colours, if these keep its values, else None.

    Of two ways to choose the colours, the one that keeps them better: by how often they
    occur, or so that none is far off. Not dithered: dots would make the file larger.
    """
    if picture.getcolors(MANY_COLOURS) is None:
        return None
    best, least = None, MEAN_ERROR
    for method in (Image.Quantize.MAXCOVERAGE, Image.Quantize.MEDIANCUT):
        candidate = picture.quantize(method=method, kmeans=1, dither=Image.Dither.NONE)
        mean, largest = errors(picture, candidate)
        if mean <= least and largest <= LARGEST_ERROR:
            best, least = candidate, mean
    return best


def errors(picture: Image.Image, other: Image.Image) -> tuple[float, float]:
    """How far the values of two pictures are apart: root mean square and largest."""
    values = np.asarray(picture, dtype=float)
    distance = np.abs(values - np.asarray(other.convert("RGB"), dtype=float))
    return float((distance**2).mean() ** 0.5), float(distance.max())


def rounded(picture: Image.Image, step: int) -> Image.Image:
    """The picture with its values rounded to 255, 255 - step, and so on."""
    steps = np.round((255.0 - np.asarray(picture)) / step)
    return Image.fromarray((255 - step * steps).clip(0).astype(np.uint8))


def as_png(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
