"""Layers seen and replaced inside a `with`, against direct calls."""

import pytest
import torch
from torch import nn

from cifar_helpers.blocks import InitialConvBlock
from cifar_helpers.hooks import captured, replaced
from cifar_helpers.model import CIFAR10Net, NetConfig

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def hooks_of(model):
    return [
        hook
        for module in model.modules()
        for hook in (*module._forward_hooks, *module._forward_pre_hooks)
    ]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return CIFAR10Net(NetConfig()).eval()


def test_outputs_are_those_of_direct_calls(model):
    with captured(model, "initial", "head.linear") as kept:
        first = model(IMAGES)
        model(IMAGES[:1])
    assert [len(kept[name]) for name in ("initial", "head.linear")] == [2, 2]
    torch.testing.assert_close(kept["initial"][0], model.initial(IMAGES))
    logits = kept["head.linear"][0]
    torch.testing.assert_close(logits.log_softmax(dim=1), first)
    assert kept["head.linear"][1].shape == (1, 10)
    assert not hooks_of(model)


def test_inputs_are_what_the_layer_got(model):
    with captured(model, "dilated_near", inputs=True) as kept:
        model(IMAGES)
    torch.testing.assert_close(kept["dilated_near"][0], model.initial(IMAGES))


def test_an_in_place_layer_behind_does_not_change_what_was_kept():
    """The pitfall: the ReLU that follows overwrites the norm's output."""
    block = InitialConvBlock(3, 4).eval()
    with captured(block, "norm") as kept:
        block(IMAGES)
    expected = block.norm(block.conv(IMAGES))
    torch.testing.assert_close(kept["norm"][0], expected)
    assert (kept["norm"][0] < 0).any()


def test_gradients_of_kept_outputs_are_those_of_autograd():
    layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 1))
    x = torch.randn(5, 3)
    with captured(layers, "0") as kept:
        layers(x).sum().backward()
    hidden = layers[0](x).detach().requires_grad_()
    (expected,) = torch.autograd.grad(layers[2](hidden.relu()).sum(), hidden)
    torch.testing.assert_close(kept["0"][0].grad, expected)


def test_capturing_changes_no_output(model):
    expected = model(IMAGES)
    with captured(model, *(name for name, _ in model.named_children())):
        assert torch.equal(model(IMAGES), expected)


def test_replaced_outputs_and_inputs_are_used(model):
    with replaced(model, "attention", torch.zeros_like):
        blind = model(IMAGES)
    with replaced(
        model, "deconvolution", lambda x, detail: (x * 0, detail), inputs=True
    ):
        assert torch.equal(model(IMAGES), blind)
    assert not torch.equal(model(IMAGES), blind) and not hooks_of(model)


def test_hooks_are_gone_after_an_error(model):
    with pytest.raises(RuntimeError), captured(model, "initial", "aspp"):
        model(torch.zeros(1, 3, 32, 32, device="meta"))
    assert not hooks_of(model)


def test_an_unknown_layer_is_named_with_those_near_it(model):
    misspelt = captured(model, "initial", "atention")
    with pytest.raises(ValueError, match="no layer 'atention'.*'attention'"), misspelt:
        pass
    assert not hooks_of(model)


def test_a_module_in_place_of_its_name_is_refused(model):
    misused = replaced(model, model.aspp, torch.zeros_like)
    with pytest.raises(TypeError, match="name the layer.*not a ASPP"), misused:
        pass


def test_a_layer_without_inputs_by_position_is_named():
    class ByName(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.ReLU()

        def forward(self, x):
            return self.layer(input=x)

    model = ByName()
    refused = pytest.raises(TypeError, match="layer 'layer' gets no input by position")
    with refused, captured(model, "layer", inputs=True):
        model(IMAGES)
    assert not hooks_of(model)


def test_a_layer_that_gives_no_tensor_is_named():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    model = nn.Sequential(Pair())
    refused = pytest.raises(TypeError, match="layer '0' gives a tuple")
    with refused, captured(model, "0"):
        model(IMAGES)
    assert not hooks_of(model)
