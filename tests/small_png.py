"""Make a picture's file small where it does not show."""

from io import BytesIO

import numpy as np
from PIL import Image

PALETTES = {32: 0.5, 64: 0.5, 128: 0.5, 256: 2}  # colours: largest mean error, of 255
LARGEST_ERROR = 32  # of a palette in any value
MANY_COLOURS = 10_000  # no palette stands for more, and the search would take seconds


def shrink(png: bytes, step: int = 5) -> bytes:
    """The same picture as a smaller PNG, or as it is where that is not smaller.

    A palette is used if it keeps the values of the picture (`best_palette`). Else, as
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
    """The picture in the fewest colours that keep its values, None if 256 do not.

    They keep them if no value is further off than `LARGEST_ERROR`, and the root mean
    square is not above that in `PALETTES`. Colours are chosen in two ways: by how often
    they occur, or so that none is far off; the better one is taken. Nothing is
    dithered: dots would show and make the file larger.
    """
    if picture.getcolors(MANY_COLOURS) is None:
        return None
    for colours, least in PALETTES.items():
        best = None
        for method in (Image.Quantize.MAXCOVERAGE, Image.Quantize.MEDIANCUT):
            found = picture.quantize(colours, method, kmeans=1, dither=0)
            mean, largest = errors(picture, found)
            if mean <= least and largest <= LARGEST_ERROR:
                best, least = found, mean
        if best is not None:
            return best
    return None


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
