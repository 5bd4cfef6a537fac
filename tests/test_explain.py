"""Maps of evidence against loops, exact cases, and finite differences."""

import numpy as np
import pytest
import torch
from stand_ins import TinyNet
from torch import nn

from cifar_helpers import explain
from cifar_helpers.data import MEAN, STD, normalize
from cifar_helpers.hooks import captured
from cifar_helpers.model import CIFAR10Net
from cifar_helpers.recipes import PRESETS


@pytest.fixture
def model():
    torch.manual_seed(0)
    return TinyNet()


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(0, 256, (5, 3, 32, 32), generator=generator)
    return drawn.to(torch.uint8)


@pytest.fixture(scope="module", params=["baseline", "champion"])
def network(request):
    """A network of the series with random weights and statistics."""
    torch.manual_seed(3)
    net = CIFAR10Net(PRESETS[request.param][0])
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
    net(torch.randn(16, 3, 32, 32))
    return net.eval()


def normalized_by_hand(image):
    channels = [(image[c] / 255 - MEAN[c]) / STD[c] for c in range(3)]
    return torch.stack(channels)


def test_class_activation_map_by_loops():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(2, 5, 3, 4, generator=generator)
    weights = torch.randn(6, 5, generator=generator)
    maps = explain.class_activation_map(features, weights)
    assert maps.shape == (2, 6, 3, 4)
    for n, k, y, x in np.ndindex(2, 6, 3, 4):
        value = sum(float(features[n, c, y, x] * weights[k, c]) for c in range(5))
        assert float(maps[n, k, y, x]) == pytest.approx(value, abs=1e-5)
    logits = features.mean(dim=(2, 3)) @ weights.T
    torch.testing.assert_close(maps.mean(dim=(2, 3)), logits)


def test_class_activation_map_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"\(N, C, H, W\), got \(5, 3, 3\)"):
        explain.class_activation_map(torch.zeros(5, 3, 3), torch.zeros(6, 5))
    with pytest.raises(ValueError, match=r"\(K, 5\).*got \(5, 6\)"):
        explain.class_activation_map(torch.zeros(1, 5, 3, 3), torch.zeros(5, 6))


@pytest.mark.parametrize(("patch", "stride"), [(6, 2), (10, 7), (32, 5)])
def test_occlusion_map_by_loops(model, images, patch, stride):
    model.train()
    image, label = images[0], 4
    found = explain.occlusion_map(model, image, label, patch, stride, batch_size=50)
    assert model.training and found.shape == (32, 32)
    model.eval()

    def probability(picture):
        with torch.no_grad():
            return float(model(normalized_by_hand(picture)[None])[0, label].exp())

    tops = list(range(0, 32 - patch + 1, stride))
    if tops[-1] != 32 - patch:
        tops.append(32 - patch)
    total, times = np.zeros((32, 32)), np.zeros((32, 32))
    for top in tops:
        for left in tops:
            covered = image.clone()
            for channel in range(3):
                grey = round(255 * MEAN[channel])
                covered[channel, top : top + patch, left : left + patch] = grey
            drop = probability(image) - probability(covered)
            total[top : top + patch, left : left + patch] += drop
            times[top : top + patch, left : left + patch] += 1
    assert times.min() >= 1
    np.testing.assert_allclose(found.numpy(), total / times, atol=1e-5)


def test_occlusion_finds_the_only_place_that_counts():
    class Corner(nn.Module):
        """Class 1 is as probable as the upper left corner is bright."""

        def forward(self, images):
            bright = images[:, :, :4, :4].mean(dim=(1, 2, 3))  # (N,)
            zeros = torch.zeros_like(bright)
            return torch.stack([zeros, 3 * bright], dim=1).log_softmax(1)

    image = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    found = explain.occlusion_map(Corner(), image, label=1, patch=4, stride=4)
    assert found[:4, :4].min() > 0.1
    assert found[4:].abs().max() < 1e-6 and found[:, 4:].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(3, 32, 32)}, "uint8 of shape.*got torch.float32"),
        ({"image": torch.zeros(1, 3, 32, 32, dtype=torch.uint8)}, r"got torch.uint8 "),
        ({"label": 10}, "between 0 and 9, got 10"),
        ({"label": -1}, "between 0 and 9, got -1"),
        ({"patch": 33}, "between 1 and 32 pixels, got 33"),
        ({"patch": 4, "stride": 5}, "between 1 and the patch's 4 pixels.*got 5"),
        ({"stride": 0}, "got 0"),
    ],
)
def test_occlusion_refuses_wrong_input(model, images, change, message):
    options = {"image": images[0], "label": 0, **change}
    with pytest.raises(ValueError, match=message):
        explain.occlusion_map(model, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((3, 32, 32), np.uint8)}, "must be a tensor.*got ndarray"),
        ({"label": "cat"}, "label must be a whole number, not 'cat'"),
        ({"label": 3.0}, "label must be a whole number, not 3.0"),
        ({"patch": 6.0}, "patch must be a whole number, not 6.0"),
        ({"stride": "2"}, "stride must be a whole number, not '2'"),
    ],
)
def test_occlusion_names_the_wrong_type(model, images, change, message):
    options = {"image": images[0], "label": 0, **change}
    with pytest.raises(TypeError, match=message):
        explain.occlusion_map(model, **options)


def test_occlusion_refuses_logits(images):
    logits = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    with pytest.raises(ValueError, match="LogSoftmax"):
        explain.occlusion_map(logits, images[0], 3)


def test_covered_places_are_grey():
    images = torch.full((2, 3, 4, 4), 9, dtype=torch.uint8)
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[1, 2] = True
    got = explain.covered(images, mask)
    assert got[:, :, 1, 2].tolist() == [[round(255 * m) for m in MEAN]] * 2
    assert (got[:, :, ~mask] == 9).all() and (images == 9).all()
    assert explain.covered(images[0], mask.expand(5, 4, 4)).shape == (5, 3, 4, 4)
    for wrong in ((images.float(), mask), (images, mask.float())):
        with pytest.raises(TypeError, match="uint8 images and bool masks"):
            explain.covered(*wrong)
    for wrong in (
        (images, mask[:2]),
        (images[:, :1], mask),
        (images, mask.expand(3, 4, 4)),
    ):
        with pytest.raises(ValueError, match="do not fit"):
            explain.covered(*wrong)


# Grad-CAM


def test_grad_cam_at_the_last_maps_is_the_class_activation_map(network, images):
    """There the gradient is the weight over the number of places, everywhere."""
    labels = torch.tensor([0, 3, 5, 9, 1])
    got = explain.grad_cam(network, images, labels)
    with torch.no_grad(), captured(network, "aspp") as kept:
        network(normalize(images))
    features = kept["aspp"][0]
    maps = explain.class_activation_map(features, network.head.linear.weight)
    own = maps[torch.arange(5), labels].relu() / features[0, 0].numel()
    torch.testing.assert_close(got, own.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", ["initial.norm", "deconvolution", "initial"])
def test_grad_cam_by_finite_differences(network, images, layer):
    """The weights of the channels, from small steps of each map instead of a hook."""
    image, label = images[:1], 2
    twin = network.double()
    inputs = normalize(image).double()
    with torch.no_grad(), captured(twin, layer) as kept:
        twin(inputs)
    features = kept[layer][0]  # (1, C, h, w)
    step = 1e-6

    def logit(shift):
        def change(_, __, output):
            return output + shift

        handle = twin.get_submodule(layer).register_forward_hook(change)
        with torch.no_grad(), captured(twin, explain.LOGITS) as seen:
            twin(inputs)
        handle.remove()
        return seen[explain.LOGITS][0][0, label]

    weights = []
    for channel in range(features.shape[1]):
        shift = torch.zeros_like(features)
        shift[:, channel] = step  # of all places: the sum of their gradients
        change = (logit(shift) - logit(-shift)) / (2 * step)
        weights.append(change / features[0, 0].numel())
    expected = (torch.stack(weights)[:, None, None] * features[0]).sum(0).relu()
    got = explain.grad_cam(twin, image, torch.tensor([label]), layer)[0]
    network.float()
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5)


def test_grad_cam_leaves_the_model_as_it_was(network, images):
    network.train()
    network.initial.norm.eval()
    for values in network.parameters():
        values.requires_grad_(False)
    modes = [module.training for module in network.modules()]
    before = {name: v.clone() for name, v in network.state_dict().items()}
    with torch.no_grad():
        maps = explain.grad_cam(network, images, torch.zeros(5, dtype=torch.int64))
    assert not maps.requires_grad and (maps >= 0).all() and maps.max() > 0
    assert [module.training for module in network.modules()] == modes
    assert all(v.equal(before[name]) for name, v in network.state_dict().items())
    assert all(values.grad is None for values in network.parameters())
    assert all(not m._forward_hooks for m in network.modules())
    for values in network.parameters():
        values.requires_grad_(True)
    network.eval()


@pytest.mark.parametrize(
    ("labels", "layer", "message"),
    [
        (torch.zeros(4, dtype=torch.int64), "aspp", r"int64 of shape \(5,\)"),
        (torch.zeros(5), "aspp", "got torch.float32"),
        (torch.full((5,), 10), "aspp", "between 0 and 9"),
        (torch.zeros(5, dtype=torch.int64), "head.linear", "gives no maps"),
        (torch.zeros(5, dtype=torch.int64), "nowhere", "no layer 'nowhere'"),
    ],
)
def test_grad_cam_refuses(network, images, labels, layer, message):
    with pytest.raises(ValueError, match=message):
        explain.grad_cam(network, images, labels, layer)


# Randomization


def test_shuffled_keeps_the_values_and_moves_them(network):
    twin = explain.shuffled(network)
    old, new = dict(network.named_parameters()), dict(twin.named_parameters())
    for name, values in old.items():
        assert torch.equal(values.flatten().sort()[0], new[name].flatten().sort()[0])
        if values.numel() > 20 and values.unique().numel() > 1:
            assert not torch.equal(values, new[name]), name
    statistics = zip(network.buffers(), twin.buffers(), strict=True)
    assert all(torch.equal(a, b) for a, b in statistics)


def test_shuffling_one_part_leaves_the_others(network):
    twin = explain.shuffled(network, ["head"], seed=4)
    for name, values in network.named_parameters():
        same = torch.equal(values, twin.get_parameter(name))
        assert same == (not name.startswith("head.")), name
    again = explain.shuffled(network, ["head"], seed=4)
    assert torch.equal(again.head.linear.weight, twin.head.linear.weight)
    with pytest.raises(ValueError, match="no part 'feet'"):
        explain.shuffled(network, ["feet"])
