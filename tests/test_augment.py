"""Each augmentation of a batch against a plain loop over its images."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch

from cifar_helpers import augment
from cifar_helpers.data import MEAN

EVERY_AUGMENTATION = {
    "crop": lambda images, generator: augment.random_crop(images, 2, generator),
    "flip": augment.random_flip,
    "rotation": lambda images, draw: augment.random_rotation(images, 20.0, draw),
    "colour": lambda images, draw: augment.random_colour(images, 0.4, draw),
    "cutout": lambda images, generator: augment.cutout(images, 3, generator),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count, channels=3, height=6, width=7, dtype=torch.uint8, seed=9):
    """Random pixels: two shifts of one picture are never the same."""
    shape = (count, channels, height, width)
    pixels = torch.randint(0, 256, shape, generator=seeded(seed))
    return pixels.to(torch.uint8) if dtype == torch.uint8 else pixels.to(dtype) / 255


@pytest.mark.parametrize("name", EVERY_AUGMENTATION)
def test_an_empty_batch_stays_empty(name):
    images = pictures(3)[:0]
    result = EVERY_AUGMENTATION[name](images, seeded())
    assert result.shape == images.shape and result.dtype == images.dtype


def shifts_of(images, cropped, padding):
    """Find each image's shift by trying all of them on the mirrored image."""
    height, width = images.shape[2:]
    edges = ((0, 0), (padding, padding), (padding, padding))
    found = []
    for before, after in zip(images.numpy(), cropped.numpy(), strict=True):
        padded = np.pad(before, edges, mode="reflect")
        for top in range(2 * padding + 1):
            for left in range(2 * padding + 1):
                window = padded[:, top : top + height, left : left + width]
                if window[0, 0, 0] == after[0, 0, 0] and (window == after).all():
                    found.append((top - padding, left - padding))
                    break
            else:
                continue
            break
        else:
            raise AssertionError("the crop is no shift of the mirrored image")
    return found


# ---- crop ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("padding", [1, 2, 5])
def test_crop_is_a_shift_of_the_mirrored_image(dtype, padding):
    images = pictures(40, dtype=dtype)
    cropped = augment.random_crop(images, padding, seeded())
    assert cropped.dtype == dtype and cropped.shape == images.shape
    shifts = shifts_of(images, cropped, padding)
    assert len(set(shifts)) > 5  # every image has its own


def test_crop_draws_every_shift_about_equally():
    images = pictures(1000, channels=1)
    shifts = shifts_of(images, augment.random_crop(images, 2, seeded()), 2)
    counts = [shifts.count(shift) for shift in set(shifts)]
    assert len(counts) == 25  # 5 rows x 5 columns
    assert min(counts) > 20 and max(counts) < 65  # 40 expected


def test_crop_takes_channels_last_images():
    images = pictures(20).contiguous(memory_format=torch.channels_last)
    cropped = augment.random_crop(images, 2, seeded())
    assert torch.equal(cropped, augment.random_crop(pictures(20), 2, seeded()))


def test_crop_without_padding_changes_nothing():
    images = pictures(5)
    assert torch.equal(augment.random_crop(images, 0, seeded()), images)


@pytest.mark.parametrize("padding", [-1, 6, 7])
def test_crop_refuses_a_padding_that_cannot_be_mirrored(padding):
    with pytest.raises(ValueError, match=r"padding must be in 0 … 5, not"):
        augment.random_crop(pictures(2), padding)


# ---- flip ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_flip_mirrors_about_half_of_the_images(dtype):
    images = pictures(1000, dtype=dtype)
    result = augment.random_flip(images, seeded())
    mirrored = 0
    for before, after in zip(images.numpy(), result.numpy(), strict=True):
        is_mirrored = (after == before[:, :, ::-1]).all()
        assert is_mirrored or (after == before).all()
        mirrored += is_mirrored
    assert 430 < mirrored < 570
    assert result.dtype == dtype


# ---- rotation ------------------------------------------------------------------------


def turned_by_scipy(image, angle):
    """(C, H, W): SciPy's own linear interpolation about the middle of the image."""
    middle = (np.array(image.shape[1:]) - 1) / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = np.array([[cosine, sine], [-sine, cosine]])  # of (row, column)
    return np.stack(
        [
            scipy.ndimage.affine_transform(
                channel, matrix, middle - matrix @ middle, order=1, mode="reflect"
            )
            for channel in image
        ]
    )


@pytest.mark.parametrize("height, width", [(8, 8), (6, 9)])
def test_rotation_is_that_of_scipy(height, width):
    images = pictures(60, height=height, width=width, dtype=torch.float64)
    result = augment.random_rotation(images, 25.0, seeded())
    draw = torch.rand(2, 60, generator=seeded()).tolist()  # the same draws once more
    for before, after, chance, place in zip(images, result, *draw, strict=True):
        angle = math.radians(25 * (2 * place - 1)) if chance < 0.5 else 0
        expected = turned_by_scipy(before.numpy(), angle)
        np.testing.assert_allclose(after.numpy(), expected, atol=1e-4)


def test_rotation_turns_about_half_of_the_images_by_every_angle_up_to_its_limit():
    """Read off where a bright spot right of the middle went."""
    images = torch.zeros(2000, 1, 41, 41)
    images[:, :, 19:22, 35:38] = 1
    places = torch.arange(41.0) - 20
    result = augment.random_rotation(images, 15.0, seeded())[:, 0]  # (N, H, W)
    down = (result.sum(2) * places).sum(1) / result.sum((1, 2))
    right = (result.sum(1) * places).sum(1) / result.sum((1, 2))
    angles = torch.rad2deg(torch.atan2(down, right))
    turned = angles[angles.abs() > 1e-3]
    assert 900 < len(turned) < 1100
    assert turned.abs().max() < 15.2  # the spot is found to a fifth of a degree
    even = scipy.stats.kstest(turned.numpy(), scipy.stats.uniform(-15, 30).cdf)
    assert even.pvalue > 0.001


def test_rotation_rounds_bytes():
    images = pictures(200)
    result = augment.random_rotation(images, 20.0, seeded())
    floats = augment.random_rotation(images.double(), 20.0, seeded())
    assert result.dtype == torch.uint8
    assert (result - floats).abs().max() <= 0.5 + 1e-4


def test_rotation_by_nothing_changes_nothing():
    images = pictures(50)
    assert torch.equal(augment.random_rotation(images, 0.0, seeded()), images)


@pytest.mark.parametrize("degrees", [-1.0, float("nan"), float("inf")])
def test_rotation_refuses_what_is_no_angle(degrees):
    with pytest.raises(ValueError, match="degrees must be finite and at least 0, not"):
        augment.random_rotation(pictures(1), degrees)


# ---- colour --------------------------------------------------------------------------


def recoloured(image, brightness, contrast, saturation):
    """One image, (C, H, W) NumPy, pixel by pixel."""
    mean, result = image.mean(), np.empty_like(image)
    for row, column in np.ndindex(image.shape[1:]):
        pixel = brightness * (mean + contrast * (image[:, row, column] - mean))
        grey = pixel.sum() / len(pixel)
        result[:, row, column] = grey + saturation * (pixel - grey)
    return result


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_moves_every_pixel_by_the_three_factors(channels):
    images = pictures(40, channels, dtype=torch.float64)
    result = augment.random_colour(images, 0.4, seeded())
    draw = torch.rand(4, 40, 1, 1, 1, generator=seeded()).flatten(1).T.tolist()
    for before, after, (chance, *places) in zip(images, result, draw, strict=True):
        factors = [1 + 0.4 * (2 * p - 1) if chance < 0.5 else 1 for p in places]
        expected = recoloured(before.numpy(), *factors)
        np.testing.assert_allclose(after.numpy(), expected, atol=1e-5)


def test_colour_of_even_grey_changes_in_brightness_alone():
    grey = torch.full((2000, 3, 4, 4), 100, dtype=torch.uint8)
    result = augment.random_colour(grey, 0.3, seeded()).flatten(1)  # (N, 48)
    assert (result == result[:, :1]).all()
    values = result[:, 0].float()
    assert values.min() == 70 and values.max() == 130
    assert 880 < (values != 100).sum() < 1100  # one draw in 60 rounds to 100


def test_colour_cuts_bytes_off_at_black_and_white():
    images = pictures(300)
    result = augment.random_colour(images, 0.4, seeded())
    floats = augment.random_colour(images.double(), 0.4, seeded())
    assert floats.min() < -1 and floats.max() > 256  # and does not wrap around
    assert result.dtype == torch.uint8
    assert (result - floats.clamp(0, 255)).abs().max() <= 0.5 + 1e-4


def test_colour_of_strength_zero_changes_nothing():
    images = pictures(50)
    assert torch.equal(augment.random_colour(images, 0.0, seeded()), images)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_colour_refuses_what_is_no_part_of_the_whole(strength):
    with pytest.raises(ValueError, match="strength must be 0 to 1, not"):
        augment.random_colour(pictures(1), strength)


# ---- cutout --------------------------------------------------------------------------


def with_square(image, centre, size, fill):
    """One image, (C, H, W) NumPy, with a square pixel by pixel."""
    image = image.copy()
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            inside = [
                -(size // 2) <= position - middle < size - size // 2
                for position, middle in zip((row, column), centre, strict=True)
            ]
            if all(inside):
                image[:, row, column] = fill
    return image


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cutout_covers_one_square_whose_centre_lies_in_the_image(dtype, size):
    images = pictures(300, dtype=dtype)
    result = augment.cutout(images, size, seeded())
    fill = 0 if dtype == torch.float32 else [round(255 * mean) for mean in MEAN]
    height, width = images.shape[2:]
    draw = torch.rand(2, 300, 1, generator=seeded())  # the same draws once more
    centres = set()
    for before, after, y, x in zip(images, result, *draw.tolist(), strict=True):
        centre = (int(y[0] * height), int(x[0] * width))
        centres.add(centre)
        assert np.array_equal(
            after.numpy(), with_square(before.numpy(), centre, size, fill)
        )
    assert len(centres) == height * width  # corners too, where it sticks out
    assert result.dtype == dtype


def test_cutout_fills_with_the_mean_colour():
    result = augment.cutout(pictures(1), 50, seeded())
    assert result[0, :, 0, 0].tolist() == [125, 123, 114]  # 255 times MEAN
    grey = augment.cutout(pictures(1, channels=1), 50, seeded())
    assert grey.unique().tolist() == [128]


def test_cutout_of_size_zero_changes_nothing():
    images = pictures(5)
    assert torch.equal(augment.cutout(images, 0, seeded()), images)


def test_cutout_refuses_a_negative_size():
    with pytest.raises(ValueError, match="size must be at least 0, not -1"):
        augment.cutout(pictures(1), -1)


# ---- mixup ---------------------------------------------------------------------------


def mixed(count=64, alpha=0.4, dtype=torch.float64):
    images = pictures(count, dtype=dtype)
    targets = torch.eye(10, dtype=dtype)[torch.arange(count) % 10]
    return images, targets, *augment.mixup(images, targets, alpha, seeded())


def test_mixup_blends_images_and_targets_with_one_share():
    """Read partner and share off the targets, then blend the images with them."""
    count = 48
    images = pictures(count, dtype=torch.float64)
    own_class = torch.eye(count, dtype=torch.float64)
    results = augment.mixup(images, own_class, 0.4, seeded())
    images, (blended, targets) = images.numpy(), (part.numpy() for part in results)
    partners = []
    for i in range(count):
        others = [j for j in np.flatnonzero(targets[i]) if j != i]
        assert len(others) <= 1
        share, j = targets[i, i], (others or [i])[0]
        assert others == [] or targets[i, j] == pytest.approx(1 - share)
        expected = share * images[i] + (1 - share) * images[j]
        np.testing.assert_allclose(blended[i], expected, atol=1e-12)
        partners.append(j)
    blends = [j for i, j in enumerate(partners) if j != i]
    assert len(set(blends)) == len(blends) > 35  # each image is partner once


def test_mixup_keeps_the_sum_of_targets():
    *_, targets = mixed(dtype=torch.float32)
    torch.testing.assert_close(targets.sum(1), torch.ones(64), rtol=0, atol=1e-6)
    assert ((targets > 0).sum(1) == 2).sum() > 40  # most are really blended


def test_mixup_keeps_the_dtypes():
    images = pictures(4, dtype=torch.bfloat16)
    blended, targets = augment.mixup(images, torch.eye(4), 0.4, seeded())
    assert (blended.dtype, targets.dtype) == (torch.bfloat16, torch.float32)


def shares_of(count, alpha):
    """The shares that mixup drew, worked out from what it made of two numbers.

    With targets i and i * i, image i mixed with j has i + (1 - a) (j - i) and
    i * i + (1 - a) (j * j - i * i): the quotient of the differences is i + j.
    """
    own = torch.arange(count, dtype=torch.float64)
    targets = torch.stack([own, own**2], dim=1)
    _, mixed = augment.mixup(torch.zeros(count, 1, 1, 1), targets, alpha, seeded())
    moved = (mixed - targets).numpy()  # (N, 2)
    changed = moved[:, 0] != 0  # elsewhere a is 1, or the image was its own partner
    own = own.numpy()[changed]
    partner = moved[changed, 1] / moved[changed, 0] - own
    np.testing.assert_allclose(partner, partner.round(), atol=0.01)
    assert len(set(partner.round())) == len(partner)  # each is partner once
    share = np.ones(count)
    share[changed] = 1 - moved[changed, 0] / (partner.round() - own)
    return share


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.5, 1.0, 5.0])
def test_mixup_share_follows_the_beta_distribution(alpha):
    count = 20_000
    share = shares_of(count, alpha)
    beta = scipy.stats.beta(alpha, alpha)
    low, high = 1e-5, 1 - 1e-5  # closer to 0 and 1, float32 rounds
    inside = share[(low < share) & (share < high)]
    probability = beta.cdf(high) - beta.cdf(low)
    inner = scipy.stats.kstest(
        inside, lambda x: (beta.cdf(x) - beta.cdf(low)) / probability
    )
    assert inner.pvalue > 0.001
    deviation = (count * probability * (1 - probability)) ** 0.5
    missing = count * probability - len(inside)
    assert abs(missing) < 4 * deviation + 4  # some images were their own partners
    assert share.min() >= 0 and share.max() <= 1


def test_mixup_without_strength_changes_nothing():
    images, targets, *_ = mixed()
    blended, blended_targets = augment.mixup(images, targets, 0.0, seeded())
    assert torch.equal(blended, images) and torch.equal(blended_targets, targets)


def test_mixup_errors():
    floats, targets = pictures(3, dtype=torch.float32), torch.eye(3)
    with pytest.raises(TypeError, match="float images and float targets"):
        augment.mixup(pictures(3), targets)
    with pytest.raises(TypeError, match="float images and float targets"):
        augment.mixup(floats, torch.tensor([0, 1, 2]))
    for alpha in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"alpha >= 0, not {alpha}"):
            augment.mixup(floats, targets, alpha)
    for wrong in (torch.eye(4), torch.ones(3)):
        with pytest.raises(ValueError, match=r"targets \(3, classes\), not \("):
            augment.mixup(floats, wrong)


# ---- targets -------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_one_hot_spreads_the_smoothing(smoothing):
    labels = torch.tensor([3, 0, 9, 3])
    targets = augment.one_hot(labels, 10, smoothing)
    for row, label in zip(targets.tolist(), labels.tolist(), strict=True):
        for place, value in enumerate(row):
            true_class = 1 - smoothing if place == label else 0
            assert value == pytest.approx(true_class + smoothing / 10)


# ---- all of them ---------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY_AUGMENTATION)
def test_same_generator_gives_the_same_images(name):
    change, images = EVERY_AUGMENTATION[name], pictures(50)
    first = change(images, seeded(1))
    assert torch.equal(first, change(images, seeded(1)))
    assert not torch.equal(first, change(images, seeded(2)))


def test_same_generator_gives_the_same_mixup():
    images, targets = pictures(50, dtype=torch.float32), torch.eye(50)
    first, again, other = (
        augment.mixup(images, targets, 0.4, seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("name", EVERY_AUGMENTATION)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_input_stays_as_it_was(name, dtype):
    images = pictures(50, dtype=dtype)
    result = EVERY_AUGMENTATION[name](images, seeded())
    assert torch.equal(images, pictures(50, dtype=dtype))
    assert not torch.equal(result, images)


def test_mixup_leaves_its_input_as_it_was():
    images, targets, blended, _ = mixed()
    assert torch.equal(images, pictures(64, dtype=torch.float64))
    assert torch.equal(targets.sum(1), torch.ones(64, dtype=torch.float64))
    assert targets.unique().tolist() == [0, 1]
    assert not torch.equal(blended, images)


@pytest.mark.parametrize("name", EVERY_AUGMENTATION)
def test_wrong_input_is_explained(name):
    change = EVERY_AUGMENTATION[name]
    with pytest.raises(ValueError, match=r"batch dimension: image\[None\]"):
        change(pictures(1)[0], seeded())
    with pytest.raises(TypeError, match="must be a torch.Tensor, not ndarray"):
        change(pictures(1).numpy(), seeded())


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (2, 32, 32, 1), (2, 4, 32, 32)])
def test_channels_in_another_place_are_refused(shape):
    images = torch.zeros(shape)
    changes = {
        **EVERY_AUGMENTATION,
        "mixup": lambda images, _: augment.mixup(images, torch.eye(2)),
    }
    for change in changes.values():
        with pytest.raises(ValueError, match=r"images.permute\(0, 3, 1, 2\)"):
            change(images, seeded())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_every_augmentation_runs_on_a_gpu():
    images = pictures(200).cuda()
    generator = torch.Generator("cuda").manual_seed(0)
    for change in EVERY_AUGMENTATION.values():
        assert change(images, generator).device == images.device
    shifts_of(images.cpu(), augment.random_crop(images, 2, generator).cpu(), 2)
    floats = images.float()
    blended, targets = augment.mixup(
        floats, torch.eye(200, device="cuda"), 0.4, generator
    )
    assert blended.device == targets.device == images.device


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0, float("nan")])
def test_smoothing_is_a_part_of_the_whole(smoothing):
    with pytest.raises(ValueError, match="smoothing must be in"):
        augment.one_hot(torch.tensor([1]), 10, smoothing)
