"""Corruptions against other ways to compute them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

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
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    expected = ndimage.gaussian_filter(
        images.numpy().astype(float), (0, 0, sigma, sigma), mode="mirror", truncate=4
    )
    difference = np.abs(blurred.numpy()[inside] - expected[inside])
    assert difference.max() <= 1.0  # rounding, and the kernel's cut tails
    assert torch.equal(corruptions.gaussian_blur(images, 0), images)


def test_contrast_pulls_towards_the_mean_of_each_channel(images):
    paler = corruptions.low_contrast(images, 0.4)
    values = images.numpy().astype(float)
    mean = values.mean(axis=(2, 3), keepdims=True)
    expected = (mean + 0.4 * (values - mean)).round()
    assert np.abs(paler.numpy() - expected).max() <= 1
    assert torch.equal(corruptions.low_contrast(images, 1), images)


def test_brightness_adds_and_saturates(images):
    lighter = corruptions.brightness(images, 0.2)
    expected = np.minimum(images.numpy().astype(int) + 51, 255)
    assert np.array_equal(lighter.numpy(), expected)


def test_jpeg_is_the_stored_file_read_again(images):
    packed = corruptions.jpeg(images, 30)
    file = io.BytesIO()
    Image.fromarray(images[2].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=30)
    expected = np.array(Image.open(file)).transpose(2, 0, 1)
    assert np.array_equal(packed[2].numpy(), expected)


@pytest.mark.parametrize("corrupt", corruptions.SEVERITIES)
def test_each_severity_does_more_damage_than_the_last(images, corrupt):
    damage = [
        (corrupt(images, strength).double() - images).abs().mean().item()
        for strength in corruptions.SEVERITIES[corrupt]
    ]
    assert len(damage) == 5 and damage[0] > 0 and sorted(damage) == damage


@pytest.mark.parametrize("corrupt", corruptions.SEVERITIES)
def test_wrong_input_is_refused(images, corrupt):
    with pytest.raises(TypeError, match="uint8"):
        corrupt(images.float(), 1)
    with pytest.raises(ValueError, match=r"must be \(N, 3, H, W\)"):
        corrupt(images[0], 1)


@pytest.mark.parametrize("name", corruptions.NAMES)
def test_a_corruption_by_its_name(images, name):
    function = corruptions.NAMES[name]
    strength = corruptions.SEVERITIES[function][3]
    if name == "noise":
        draw = torch.Generator().manual_seed(7)
        expected = function(images, strength, draw)
    else:
        expected = function(images, strength)
    assert torch.equal(corruptions.corrupted(images, name, 4, seed=7), expected)


@pytest.mark.parametrize("name, severity", [("fog", 1), ("noise", 0), ("noise", 6)])
def test_unknown_corruptions_are_refused(images, name, severity):
    with pytest.raises(ValueError, match="must be one of|1 to 5"):
        corruptions.corrupted(images, name, severity)
