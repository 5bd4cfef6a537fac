"""The traced receptive field against gradients, closed forms and hand-made cases."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from cifar_helpers.depthwise import DepthwiseConv2d
from cifar_helpers.model import CIFAR10Net, NetConfig
from cifar_helpers.receptive_field import (
    as_rows,
    dependency,
    receptive_field,
    register,
    window,
)
from cifar_helpers.receptive_field.rules import RULES
from tests import fuzz_receptive_field
from tests.receptive_field_oracle import (
    NARROW,
    Function,
    Increasing,
    check_field,
    conv,
    last,
    last_agrees,
    one_channel,
    positive,
)


def test_random_networks_agree_with_gradients():
    """`python -m tests.fuzz_receptive_field 500` follows more of them."""
    count, _, operations = fuzz_receptive_field.run(60)
    assert count["networks"] > 50 and count["bounds"] < count["maps"] / 20
    assert count["merged"] > 10 and count["blind"] > 10  # the hard cases do occur
    assert len(operations) > 250


@pytest.mark.parametrize("function", fuzz_receptive_field.UNREACHABLE)
def test_what_the_fuzz_leaves_out_is_in_no_graph(function):
    """Python functions without a hook for tracing: what they call is traced."""
    graph = torch.fx.symbolic_trace(Function(lambda m, x: function(x))).graph
    assert function.__name__ in {node.target for node in graph.nodes}  # the method
    assert function not in {node.target for node in graph.nodes}


# --------------------------------------------------------------------------------------
# Named networks
# --------------------------------------------------------------------------------------


RECORDED = ("add", "mul", "cat", "expand_as", "avg_pool2d")
RECORDED += ("adaptive_avg_pool2d",)


def recorded(model, image):
    """The outputs of all modules by name, and of merges by kind, in order."""
    outputs, merges = {}, {}

    class Recording(Increasing):
        def __torch_function__(self, function, types, arguments=(), options=None):
            output = super().__torch_function__(function, types, arguments, options)
            name = function.__name__.strip("_").replace("iadd", "add")
            if name in RECORDED:
                merges.setdefault(name, []).append(output)
            return output

    def keep(module, inputs, output, name):
        outputs.setdefault(name, []).append(output)
        if isinstance(module, nn.AvgPool2d):  # its own call has no row
            merges["avg_pool2d"].pop()

    for name, child in model.named_modules():
        child.register_forward_hook(partial(keep, name=name))
    with Recording():
        model(image)
    return outputs, merges


def check_named(fields, model, image_size, places=16, phases=2):
    """Check all rows for which the model gives a value; returns the names of others."""
    image = torch.rand(places, 3, *image_size, dtype=torch.float64) + 0.5
    image.requires_grad_()
    outputs, merges = recorded(positive(model), image)
    unchecked = []
    for field in fields:
        found = outputs.get(field.name) or merges.get(field.kind)
        if found:
            check_field(field, image, found.pop(0), phases)
        else:
            unchecked.append(field.name)
    return unchecked


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("mobilenet_v2", {}),
        ("googlenet", {"init_weights": False}),
        ("densenet121", {}),
    ],
)
def test_torchvision_networks_agree_with_gradients(name, options):
    model = getattr(torchvision.models, name)(weights=None, **options).eval()
    fields = receptive_field(model, (3, 64, 48))
    assert all(field.exact for field in fields)
    unchecked = check_named(fields, one_channel(model), (64, 48))
    kinds = {label.rstrip("_0123456789") for label in unchecked}
    assert kinds <= {"relu", "flatten"}  # called as functions: nothing to hook


@pytest.mark.parametrize(
    "config", [{}, {"residual": False}, {"without": ("dilated_far",)}]
)
def test_every_row_of_our_network_agrees_with_gradients(config):
    """The number of channels changes no field, so gradients may use few of them."""
    fields = receptive_field(CIFAR10Net(NetConfig(**config)))
    narrow = CIFAR10Net(NetConfig(**config, **NARROW))
    assert check_named(fields, narrow, (32, 32)) == []


def test_without_gates_our_network_is_the_one_without_attention():
    fields = receptive_field(CIFAR10Net(), gates=False)
    narrow = CIFAR10Net(NetConfig(**NARROW, without=("attention",)))
    gate = ("mul", "avg_pool2d")  # the first mean of a map is that of the attention
    rows = [f for f in fields if "attention" not in f.name and f.name not in gate]
    assert check_named(rows, narrow, (32, 32)) == []
    mul = next(f for f in fields if f.name == "mul")
    before = next(f for f in fields if f.name == "dilated_far.far.activation")
    assert mul.span(0, 0) == before.span(0, 0)


def test_vgg16_has_its_known_receptive_field():
    vgg = torchvision.models.vgg
    fields = receptive_field(vgg.make_layers(vgg.cfgs["D"]), (3, 224, 224))
    sizes = [f.size[0] for f in fields if f.kind == "MaxPool2d"]
    assert sizes == [6, 16, 44, 100, 212]
    assert fields[-1].stride == (32, 32)


@pytest.mark.parametrize(("stride_first", "expected"), [(True, 483), (False, 427)])
def test_resnet50_has_its_known_receptive_field(stride_first, expected):
    """483 with the stride in the first 1 x 1 (Araujo et al. 2019), 427 in the 3 x 3."""
    model = torchvision.models.resnet50()
    if stride_first:
        for block in model.modules():
            if isinstance(block, torchvision.models.resnet.Bottleneck):
                block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    fields = receptive_field(model, (3, 1024, 32))
    field = last(fields, "layer4.2.relu")
    assert field.size[0] == expected
    assert field.stride == (32, 32)


def test_chain_follows_the_recurrence():
    """r += (k - 1) dilation jump; jump *= stride."""
    layers, size, jump = [], 1, 1
    for kernel, stride, dilation in [
        (3, 1, 1),
        (5, 2, 1),
        (2, 1, 3),
        (4, 3, 2),
        (1, 2, 1),
    ]:
        layers.append(nn.Conv2d(1, 1, kernel, stride, dilation=dilation))
        size, jump = size + (kernel - 1) * dilation * jump, jump * stride
    field = receptive_field(nn.Sequential(*layers).append(nn.ReLU()), (1, 99, 77))[-1]
    assert field.size == field.size_min == (size, size)
    assert field.stride == (jump, jump)
    assert field.span(1, 2)[0] - field.span(0, 0)[0] == jump
    assert field.span(1, 2)[2] - field.span(0, 0)[2] == 2 * jump


# --------------------------------------------------------------------------------------
# One case each
# --------------------------------------------------------------------------------------


@pytest.fixture
def own_rules():
    """Rules that a test registers are gone after it."""
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


MOVES = {
    "channel slice": lambda m, x: m.a(x)[:, :1],
    "channel index": lambda m, x: m.a(x)[:, 0].unsqueeze(1),
    "chunk": lambda m, x: m.a(x).chunk(2, dim=1)[1],
    "split in space": lambda m, x: m.a(x).split(3, 2)[1] + 1,
    "concatenated columns": lambda m, x: torch.cat((m.a(x), x), 3),
    "last is relative": lambda m, x: m.a(x)[..., -2:],
    "there and back": lambda m, x: m.a(x).permute(0, 2, 3, 1).permute(0, 3, 1, 2),
    "flatten and back": lambda m, x: m.a(x).flatten(2).view(-1, 2, 9, 7),
    "new dimension": lambda m, x: m.a(x)[:, :, None].squeeze(2),
    "tokens": lambda m, x: m.a(x).flatten(2).transpose(1, 2).mean(1),
    "shuffle": lambda m, x: (
        m.a(x).view(-1, 2, 1, 9, 7).transpose(1, 2).reshape(x.shape)
    ),
    "mean twice": lambda m, x: m.a(x).mean(3).mean(2),
    "rows only": lambda m, x: m.a(x).mean(2, keepdim=True) + x,
    "maximum": lambda m, x: m.a(x).sum((2, 3)),
    "linear": lambda m, x: m.linear(m.a(x).view(x.size(0), -1)),
    "linear per pixel": lambda m, x: m.small(m.a(x).permute(0, 2, 3, 1)).permute(
        0, 3, 1, 2
    ),
    "channel norm": lambda m, x: m.norm(m.a(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "gate": lambda m, x: m.a(x) * torch.sigmoid(m.a(x).mean((2, 3), keepdim=True)),
    "gate by view": lambda m, x: m.a(x) * m.a(x).mean((2, 3)).view(-1, 2, 1, 1),
    "gate expanded": lambda m, x: x * m.a(x).mean((2, 3), keepdim=True).expand_as(x),
    "plain numbers": lambda m, x: (2 + m.a(x)) * 3 / 2,
}


@pytest.mark.parametrize("name", MOVES)
def test_moved_values_keep_their_field(name):
    linear, small = nn.Linear(2 * 9 * 7, 3), nn.Linear(2, 2)
    model = Function(
        MOVES[name], a=conv(padding=1), linear=linear, small=small, norm=nn.LayerNorm(2)
    )
    assert last_agrees(model).exact


@pytest.mark.parametrize("name", ["gate", "gate by view", "gate expanded"])
def test_gates_can_be_left_out(name):
    model = Function(MOVES[name], a=conv(padding=1)).eval()
    assert receptive_field(model, (2, 9, 7))[-1].size_min == (9, 7)
    through = receptive_field(model, (2, 9, 7), gates=False)[-1]
    assert through.size == ((1, 1) if name == "gate expanded" else (3, 3))
    assert through.output_size == (9, 7)


def test_box_is_smaller_than_all_rows_times_all_columns():
    """The branch `a` sees rows 0-1 but only padding to the left of the image."""
    blind = conv((1, 1), padding=(0, 3))  # columns -3 to 9
    model = Function(
        lambda m, x: m.a(x)[:, :, :2, :4] + m.b(x)[:, :, 4:6, :4], a=blind, b=conv(1)
    )
    field = last_agrees(model)
    assert field.span(0, 0) == (4, 4, 0, 0)  # not rows 0 to 4
    assert field.span(0, 3) == (0, 4, 0, 3)
    assert field.touched == pytest.approx(2 / 20)


def test_too_many_paths_are_an_upper_bound(monkeypatch):
    monkeypatch.setattr(dependency, "MAX_PATHS", 2)
    branches = [conv((7, 1), padding=(3, 0)), conv((1, 7), padding=(0, 3))]
    branches.append(conv(padding=1))
    model = Function(
        lambda m, x: m.a(x) + m.b(x) + m.c(x), **dict(zip("abc", branches, strict=True))
    )
    field = last_agrees(model)
    assert not field.exact


def test_part_of_different_channels_is_exact():
    model = Function(
        lambda m, x: torch.cat((x, m.a(x)), 1)[:, :2], a=conv(5, padding=2)
    )
    assert last_agrees(model).size == (1, 1)


@pytest.mark.parametrize(
    ("layer", "image_size", "live"),
    [
        (conv(dilation=18, padding=18), (32, 32), 9),
        (conv(dilation=18, padding=18), (16, 16), 1),
        (conv(dilation=18, padding=18), (19, 16), 3),
        (conv(dilation=6, padding=6, stride=4), (8, 8), 4),
        (conv((2, 5), padding="same"), (1, 3), 5),
        (conv(dilation=6, padding=6, padding_mode="circular"), (6, 6), 9),
        (nn.ConvTranspose2d(2, 2, 4, 4, padding=3), (2, 9), 8),
        (nn.MaxPool2d(3, 1, 1), (2, 1), 3),
    ],
)
def test_live_taps_are_those_that_pass_the_image_on(layer, image_size, live):
    """Independent: with all other taps at zero, does any output react?"""
    field = receptive_field(layer_after_identity(layer), (2, *image_size))[-1]
    assert field.live_taps == live
    if not hasattr(layer, "weight"):
        return
    reacting = 0
    for tap in range(field.taps):
        image = torch.ones(1, 2, *image_size, requires_grad=True)
        weight = torch.zeros_like(layer.weight)
        weight.flatten(2)[:, :, tap] = 1
        output = torch.func.functional_call(layer, {"weight": weight}, (image,))
        (gradient,) = torch.autograd.grad(output.sum(), image)
        reacting += bool(gradient.any())
    assert field.live_taps == reacting


def layer_after_identity(layer):
    return nn.Sequential(nn.Identity(), layer)


def test_live_taps_of_one_output_and_after_padding():
    rate_18 = layer_after_identity(conv(dilation=18, padding=18))
    field = receptive_field(rate_18, (2, 32, 32))[-1]
    counts = [field.live_taps_at(k, k) for k in (0, 15, 31)]
    assert counts == [4, 1, 4]
    padded = nn.Sequential(nn.ZeroPad2d(20), conv(dilation=18))
    assert receptive_field(padded, (2, 10, 10))[-1].live_taps == 1


def test_transposed_convolution_depends_on_the_phase():
    field = last_agrees(
        nn.Sequential(conv(), nn.ConvTranspose2d(2, 2, 3, stride=2)), (12, 9)
    )
    assert field.stride == (0.5, 0.5)
    assert (field.size, field.size_min) == ((4, 4), (3, 3))


def test_touched_counts_the_gaps_of_dilation():
    field = last_agrees(layer_after_identity(conv(dilation=2, padding=2)), (9, 9))
    assert field.span(4, 4) == (2, 6, 2, 6)
    assert field.touched == pytest.approx(9 / 25)
    assert int(field.mask(4, 4).sum()) == 9


def test_method_may_share_its_name_with_a_layer():
    model = Function(
        lambda m, x: m.relu(x).sigmoid().relu(), relu=conv(), sigmoid=conv()
    )
    assert [f.kind for f in receptive_field(model, (2, 9, 7))] == [
        *("Conv2d", "sigmoid", "relu")
    ]


def test_attention_sees_everything():
    attention = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(m, x):
        tokens = m.a(x).flatten(2).transpose(1, 2)
        return m.attention(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)

    field = receptive_field(
        Function(forward, a=conv(padding=1), attention=attention), (2, 6, 5)
    )
    assert field[-1].size_min == (6, 5)


def test_fast_convolution_counts_as_convolution_if_it_is_ours():
    class Fast(nn.Conv2d):
        def forward(self, x):
            return torch.fft.ifft2(torch.fft.fft2(x)).real  # unknown inside

    with pytest.raises(NotImplementedError, match="fft2"):
        receptive_field(nn.Sequential(Fast(2, 2, 3, padding=1)), (2, 9, 9))
    (field,) = receptive_field(DepthwiseConv2d(2, dilation=2), (2, 9, 9))
    assert (field.kind, field.size) == ("DepthwiseConv2d", (5, 5))


def test_unknown_operation_is_named_and_can_be_registered(own_rules):
    class Roll(nn.Module):
        def forward(self, x):
            return torch.roll(x, 1, 2)

    model = nn.Sequential(conv(padding=1), Roll())
    with pytest.raises(NotImplementedError, match="roll.*register"):
        receptive_field(model, (2, 9, 7))

    @register(Roll)
    def roll(call):
        height, width = call.input.size
        rows = (torch.arange(height)[:, None] - 1) % height
        return call.read(rows, window(width, width, kernel=1))

    field = last_agrees(model)
    assert field.kind == "Roll"
    assert field.span(0, 3) == (7, 8, 2, 4)


def test_wrong_rule_is_noticed(own_rules):
    register(nn.Tanh)(
        lambda call: call.read(torch.zeros(2, 1).long(), torch.zeros(2, 1).long())
    )
    with pytest.raises(RuntimeError, match="Tanh"):
        receptive_field(nn.Sequential(nn.Tanh()), (2, 9, 7))


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda m, x: m.a(x.transpose(2, 3)), "Conv2d.*last two dimensions"),
        (lambda m, x: x.view(-1, 2, 7, 9), "view.*tears"),
        (lambda m, x: x.flatten(2)[:, :, 3:], "getitem.*flattened"),
        (lambda m, x: torch.fft.fft2(x).real, "fft2"),
    ],
)
def test_what_cannot_be_followed_is_named(forward, words):
    with pytest.raises(NotImplementedError, match=words):
        receptive_field(Function(forward, a=conv()), (2, 9, 7))


def test_bad_requests_are_explained():
    with pytest.raises(ValueError, match="input_shape"):
        receptive_field(conv(), (32, 32))
    with pytest.raises(ValueError, match="empty"):
        receptive_field(nn.ConvTranspose2d(2, 2, 4, 2, padding=3), (2, 2, 9))
    with pytest.raises(ValueError, match="trace.*register"):
        receptive_field(Function(lambda m, x: x if x.sum() > 0 else -x), (2, 9, 7))
    field = receptive_field(conv(), (2, 9, 7))[0]
    with pytest.raises(IndexError, match="7 x 5"):
        field.span(7, 0)
    with pytest.raises(IndexError):
        field.mask(0, -1)


def test_unit_that_sees_only_padding_has_no_box():
    field = receptive_field(nn.Sequential(conv(1, padding=2)), (2, 5, 5))[0]
    assert field.span(0, 4) is None
    assert field.size_min == (0, 0)
    assert not field.mask(0, 4).any()


def test_tracing_leaves_the_model_alone():
    model = nn.Sequential(conv(), nn.BatchNorm2d(2), nn.Dropout(), nn.ReLU()).train()
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    receptive_field(model, (2, 9, 9))
    assert [m.training for m in model] == [True, True, False, True]
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], v) for name, v in model.state_dict().items())


def test_hooks_that_may_change_values_are_refused():
    model = nn.Sequential(conv(), nn.ReLU())
    watch = model[0].register_forward_hook(lambda *_: None)
    with pytest.raises(NotImplementedError, match="0 .Conv2d.*forward hook.*remove"):
        receptive_field(model, (2, 9, 9))
    watch.remove()
    before = model[1].register_forward_pre_hook(lambda m, x: F.avg_pool2d(x[0], 5, 1))
    with pytest.raises(NotImplementedError, match="1 .ReLU.*forward hook.*remove"):
        receptive_field(nn.DataParallel(model), (2, 9, 9))
    before.remove()
    model[0].register_full_backward_hook(lambda *_: None)  # changes no value
    assert receptive_field(model, (2, 9, 9))[-1].size == (3, 3)


def test_table_has_a_row_per_layer():
    fields = receptive_field(nn.Sequential(conv(stride=2), nn.ReLU()), (2, 9, 9))
    rows = as_rows(fields)
    assert [row["name"] for row in rows] == ["0", "1"]
    assert rows[0]["size"] == (3, 3)


STRIDES = {
    "upsampling": (lambda m, x: F.interpolate(x, scale_factor=2), (0.5, 0.5)),
    "aligned": (
        lambda m, x: F.interpolate(x, (15, 8), mode="bilinear", align_corners=True),
        (0.5, 1),
    ),
    "adaptive": (lambda m, x: F.adaptive_avg_pool2d(x, (4, 2)), (2, 4)),
    "slice": (lambda m, x: x[:, :, ::2, ::4], (2, 4)),
    "unshuffle": (lambda m, x: F.pixel_unshuffle(x, 2), (2, 2)),
    "smallest": (lambda m, x: x[:, :, ::2, ::2] + x[:, :, :4, :4], (1, 1)),
    "gate": (lambda m, x: x[:, :, ::2, ::2] * x.mean((2, 3), keepdim=True), (2, 2)),
}


@pytest.mark.parametrize("name", STRIDES)
def test_stride_is_the_pixels_from_one_output_to_the_next(name):
    forward, stride = STRIDES[name]
    assert receptive_field(Function(forward), (2, 8, 8))[-1].stride == stride
