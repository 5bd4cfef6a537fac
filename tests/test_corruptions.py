"""Corruptions against other ways to compute them."""

import numpy as np
import pytest
import torch
from scipy import fft, ndimage

from cifar_helpers import corruptions
from cifar_helpers.data import load_cifar10


@pytest.fixture(scope="module")
def images():
    return load_cifar10(source="sample").test.images[:6]


def test_noise_has_the_deviation_asked_for():
    grey = torch.full((20, 3, 32, 32), 128, dtype=torch.uint8)
    draws = torch.Generator().manual_seed(0)
    noisy = corruptions.gaussian_noise(grey, 0.08, draws).double()
    assert noisy.mean().item() == pytest.approx(128, abs=0.3)
    assert noisy.std().item() == pytest.approx(0.08 * 255, rel=0.02)
    again = corruptions.gaussian_noise(grey, 0.08, torch.Generator().manual_seed(0))
    assert torch.equal(noisy, again.double())


@pytest.mark.parametrize("sigma", [0.4, 1.0])
def test_blur_agrees_with_scipy(images, sigma):
    blurred = corruptions.gaussian_blur(images, sigma)
    expected = ndimage.gaussian_filter(
        images.numpy().astype(float), (0, 0, sigma, sigma), mode="mirror", truncate=4
    )
    difference = np.abs(blurred.numpy() - expected)
    assert difference.max() <= 1.0  # rounding, and the kernel's cut tails
    assert torch.equal(corruptions.gaussian_blur(images, 0), images)


def test_contrast_pulls_towards_the_mean_of_each_channel(images):
    paler = corruptions.low_contrast(images, 0.4)
    values = images.numpy().astype(float)
    mean = values.mean(axis=(2, 3), keepdims=True)
    expected = (mean + 0.4 * (values - mean)).round()
    assert np.abs(paler.numpy() - expected).max() <= 1
    assert torch.equal(corruptions.low_contrast(images, 1), images)


@pytest.mark.parametrize("shift", [0.2, 1, -1, -0.4])
def test_brightness_adds_and_saturates(images, shift):
    lighter = corruptions.brightness(images, shift)
    expected = (images.numpy().astype(int) + round(255 * shift)).clip(0, 255)
    assert np.array_equal(lighter.numpy(), expected)


LUMINANCE = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56
14 17 22 29 51 87 80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92
49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99
"""  # ITU-T T.81, table K.1


@pytest.mark.parametrize("quality", [30, 80])
def test_jpeg_rounds_the_cosine_transform_of_grey_pictures(images, quality):
    """In blocks of 8 x 8, in steps of the standard's table, scaled as by libjpeg."""
    grey = images.float().mean(1, keepdim=True).round()
    packed = corruptions.jpeg(grey.expand(-1, 3, -1, -1).to(torch.uint8), quality)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = np.array(LUMINANCE.split(), int).reshape(8, 8)
    steps = ((table * scale + 50) // 100).clip(1, 255)
    blocks = grey.numpy().reshape(-1, 4, 8, 4, 8).swapaxes(2, 3) - 128.0
    rounded = np.round(fft.dctn(blocks, axes=(3, 4), norm="ortho") / steps) * steps
    blocks = fft.idctn(rounded, axes=(3, 4), norm="ortho") + 128
    expected = blocks.swapaxes(2, 3).reshape(-1, 1, 32, 32).clip(0, 255)
    difference = np.abs(packed.numpy() - expected)
    assert difference.mean() < 0.5  # to whole numbers, and coefficients near a half
    assert difference.max() < 8


@pytest.mark.parametrize("corrupt", corruptions.SEVERITIES)
def test_each_severity_does_more_damage_than_the_last(images, corrupt):
    damage = [
        (corrupt(images, strength).double() - images).abs().mean().item()
        for strength in corruptions.SEVERITIES[corrupt]
    ]
    assert len(damage) == 5 and damage[0] > 0 and sorted(damage) == damage


@pytest.mark.parametrize("corrupt", corruptions.SEVERITIES)
def test_wrong_input_is_refused(images, corrupt):
    (name,) = (n for n, f in corruptions.NAMES.items() if f is corrupt)
    with pytest.raises(TypeError, match="uint8"):
        corruptions.corrupted([1], name, 1)
    with pytest.raises(TypeError, match="uint8"):
        corrupt(images.float(), 1)
    with pytest.raises(ValueError, match=r"must be \(N, 3, H, W\)"):
        corrupt(images[0], 1)


STRENGTHS = {  # severity 1 to 5 in CIFAR-10-C's script make_cifar_c.py
    "noise": (0.04, 0.06, 0.08, 0.09, 0.1),
    "blur": (0.4, 0.6, 0.7, 0.8, 1),
    "low contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "JPEG": (80, 65, 58, 50, 40),
}


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", STRENGTHS)
def test_a_corruption_by_its_name(images, name, severity):
    function = corruptions.NAMES[name]
    drawn = (torch.Generator().manual_seed(7),) if name == "noise" else ()
    expected = function(images, STRENGTHS[name][severity - 1], *drawn)
    found = corruptions.corrupted(images, name, severity, seed=7)
    assert torch.equal(found, expected)
    assert STRENGTHS.keys() == corruptions.NAMES.keys()


@pytest.mark.parametrize(
    "name, strengths",
    [
        ("noise", (-0.1, 1.1, float("nan"))),
        ("blur", (-0.1, 10.5, float("inf"))),
        ("low contrast", (-0.1, 1.1)),
        ("brightness", (-1.1, 1.1)),
        ("JPEG", (0, 101)),
    ],
)
def test_strengths_out_of_range_and_no_images_are_refused(images, name, strengths):
    corrupt = corruptions.NAMES[name]
    for strength in strengths:
        with pytest.raises(ValueError, match="must be in .* … "):
            corrupt(images, strength)
    with pytest.raises(ValueError, match="at least one"):
        corrupt(images[:0], 1)


def test_the_widest_blur_is_nearly_flat(images):
    assert corruptions.gaussian_blur(images, 31 / 3).float().std(3).mean() < 12


@pytest.mark.parametrize(
    "name, severity",
    [("fog", 1), ("noise", 0), ("noise", 6), ("blur", 2.0), ("blur", True)],
)
def test_unknown_corruptions_are_refused(images, name, severity):
    with pytest.raises(ValueError, match="must be one of|1 to 5"):
        corruptions.corrupted(images, name, severity)


def test_every_image_and_channel_has_noise_of_its_own():
    grey = torch.full((20, 3, 32, 32), 128, dtype=torch.uint8)
    noisy = corruptions.gaussian_noise(grey, 0.08, torch.Generator().manual_seed(0))
    alike = np.corrcoef(noisy.reshape(60, -1)) - np.eye(60)
    assert np.abs(alike).max() < 0.2
