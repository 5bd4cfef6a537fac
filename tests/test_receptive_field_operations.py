"""Operations that are easily followed wrongly: the right value, or an error."""

import operator

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.optim.swa_utils import AveragedModel

from cifar_helpers.blocks import GatedUnit
from cifar_helpers.receptive_field import receptive_field
from tests.receptive_field_oracle import Function, conv, last_agrees


def attend(batch_first, rows=slice(None), **options):
    """Self-attention between the pixels of some rows."""

    def forward(m, x):
        tokens = m.conv(x)[:, :, rows].flatten(2)  # (N, C, L)
        tokens = tokens.permute(0, 2, 1) if batch_first else tokens.permute(2, 0, 1)
        out = tokens + m.attention(tokens, tokens, tokens, **options)[0]
        out = out.permute(0, 2, 1) if batch_first else out.permute(1, 2, 0)
        return out.unflatten(2, (-1, 7))

    layer = nn.MultiheadAttention(2, 1, batch_first=batch_first)
    return Function(forward, attention=layer, conv=conv(padding=1))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_sees_all_tokens_in_either_layout(batch_first, need_weights):
    model = attend(batch_first, need_weights=need_weights)
    assert last_agrees(model).size_min == (9, 7)
    model = attend(batch_first, slice(2, 4), need_weights=need_weights)
    assert last_agrees(model).size == (4, 7)  # two rows, and one on either side
    kinds = [f.kind for f in receptive_field(model, (2, 9, 7))]
    assert "MultiheadAttention" in kinds


def test_axial_attention_sees_a_row_and_what_its_queries_see():
    def forward(m, x):
        q, k = m.query(x).permute(0, 2, 3, 1), x.permute(0, 2, 3, 1)  # (N, h, w, C)
        scores = (q @ k.transpose(2, 3) / 3).softmax(-1)  # (N, h, w, w)
        return (scores @ k).permute(0, 3, 1, 2)

    field = last_agrees(Function(forward, query=conv(padding=1)))
    assert int(field.mask(4, 3).sum()) == 7 + 3 + 3


def test_table_of_scores_shows_what_each_query_compares():
    model = Function(lambda m, x: x.flatten(2).transpose(1, 2)[:, :9] @ x[:, :, 0])
    with pytest.raises(NotImplementedError, match="getitem.*flattened"):
        receptive_field(model, (2, 9, 7))
    model = Function(lambda m, x: x.flatten(2).mT @ x.flatten(2))
    assert receptive_field(model, (2, 9, 7))[-1].size_min == (9, 7)


def test_masked_attention_is_refused():
    mask = torch.ones(63, 63, dtype=torch.bool).triu(1)
    with pytest.raises(NotImplementedError, match="MultiheadAttention.*hides"):
        receptive_field(attend(True, attn_mask=mask), (2, 9, 7))


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "TransformerEncoderLayer"])
def test_layers_without_a_rule_are_named(layer):
    arguments = (2, 1, 4) if layer[0] == "T" else (2, 2)
    layer = getattr(nn, layer)(*arguments, batch_first=True)
    model = Function(lambda m, x: m.layer(x.flatten(2).transpose(1, 2)), layer=layer)
    with pytest.raises(NotImplementedError, match=type(layer).__name__):
        receptive_field(model, (2, 9, 7))


def test_numbers_taken_from_values_are_refused():
    model = Function(lambda m, x: x * x.mean().item())
    with pytest.raises(NotImplementedError, match="item.*float from values"):
        receptive_field(model, (2, 9, 7))


def statement(m, x):
    y = torch.relu(x)
    y.add_(m.seven(y))
    return m.one(y)


def channel_view(m, x):
    y = torch.relu(x)
    h = y[:, :1]
    h += m.seven(y)[:, :1]
    return y * 1.0


def rows_view(m, x):
    y = x * 2
    y[:, :, 1:].add_(m.seven(y)[:, :, 1:])
    return y * 1.0


def rows_product(m, x):
    y = x * 2
    y[:, :, 1:].mul_(m.seven(y)[:, :, 1:])
    return y * 1.0


def chunk_view(m, x):
    y = m.one(x)
    y.chunk(2, 1)[0].copy_(m.seven(y)[:, 1:])
    return m.one(y[:, :1].expand(-1, 2, -1, -1))


def shift(m, x):
    y = torch.zeros_like(x)
    y[:, :, 1:] = x[:, :, :-1]
    return y * 1.0


def erased(m, x):
    y = m.seven(x)
    y[:, :, 2:4, 3] = 0.0
    return y * 1.0


def seen_through_view(m, x):
    y = x * 2
    tokens = y.flatten(2)
    y += m.seven(y)
    return tokens.unflatten(2, (9, 7)) * 1.0


def copied_rows(m, x):
    y = x * 2
    rows = y[:, :, 1:].contiguous()  # other memory: y stays as it is
    rows.add_(m.seven(rows))
    return y * 1.0


WRITES = {
    statement: (7, 7),
    channel_view: (7, 7),
    rows_view: (7, 7),
    rows_product: (7, 7),
    chunk_view: (7, 7),
    shift: (1, 1),
    erased: (7, 7),
    seen_through_view: (7, 7),
    copied_rows: (1, 1),
}


@pytest.mark.parametrize("write", WRITES)
def test_writing_in_place_is_followed(write):
    model = Function(write, seven=conv(7, padding=3), one=conv(1))
    assert last_agrees(model, (9, 7)).size == WRITES[write]


def test_only_what_was_written_changes():
    model = Function(shift)
    field = last_agrees(model)
    assert field.span(0, 3) is None
    assert field.span(5, 3) == (4, 4, 3, 3)
    field = last_agrees(Function(erased, seven=conv(7, padding=3)))
    assert field.span(2, 3) is None and field.span(2, 4) is not None


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda m, x: m.buffer.copy_(x) + m.buffer, "copy.*parameter or buffer"),
        (
            lambda m, x: (operator.setitem(m.buffer, 0, x[0]), x)[1],
            "setitem.*writes into",
        ),
        (lambda m, x: torch.add(x, x, out=torch.zeros(1, 2, 9, 7)), "add.*writes into"),
        (lambda m, x: operator.setitem(x * 2, [0], x), "setitem.*list or a tensor"),
        (lambda m, x: (x * 2).masked_scatter_(x > 0, x), "masked_scatter"),
        (lambda m, x: (x * 2).transpose_(2, 3), "transpose_"),
        (lambda m, x: (x * 2)[:, :1].contiguous().add_(x[:, 1:]), "copy or not, as"),
        (lambda m, x: (x * 2).flatten(2)[:, :, 3:].zero_(), "getitem.*flattened"),
    ],
)
def test_writes_that_are_not_followed_are_named(forward, words):
    model = Function(forward)
    model.register_buffer("buffer", torch.zeros(1, 2, 9, 7))
    with pytest.raises(NotImplementedError, match=words):
        receptive_field(model, (2, 9, 7))
    assert not model.buffer.any()


def test_a_counter_in_the_model_does_not_count():
    def forward(m, x):
        m.calls += 1
        return x * 2

    model = Function(forward)
    model.register_buffer("calls", torch.zeros(()))
    receptive_field(model, (2, 9, 7))
    assert model.calls == 0


class Same(nn.Conv2d):
    def forward(self, x):
        return super().forward(F.pad(x, (1, 1, 1, 1)))


class Inner(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(F.pad(x, (1, 1, 1, 1)), weight, bias)


class Cropped(nn.ConvTranspose2d):
    def forward(self, x):
        return super().forward(x)[:, :, 1:-1, 1:-1]


class SamePool(nn.MaxPool2d):
    def forward(self, x):
        return super().forward(F.pad(x, (2, 0, 2, 0)))


class Named(nn.Conv2d):
    def extra_repr(self):
        return "only its name is another"


@pytest.mark.parametrize(
    ("layer", "size", "span"),
    [
        (Same(2, 2, 3), (3, 3), (3, 5, 2, 4)),
        (Inner(2, 2, 3), (3, 3), (3, 5, 2, 4)),
        (Cropped(2, 2, 3), (3, 3), (3, 5, 2, 4)),
        (SamePool(3, 1), (3, 3), (2, 4, 1, 3)),
        (Named(2, 2, 3), (3, 3), (4, 6, 3, 5)),
    ],
)
def test_subclasses_that_do_more_are_looked_into(layer, size, span):
    field = last_agrees(nn.Sequential(layer))
    assert (field.size, field.span(4, 3)) == (size, span)


def test_changed_forward_of_one_layer_is_looked_into():
    layer = conv()
    layer.forward = lambda x: F.avg_pool2d(x, 5, 1)
    assert last_agrees(nn.Sequential(layer)).size == (5, 5)
    model = nn.Sequential(conv())
    model.forward = lambda x: x
    with pytest.raises(NotImplementedError, match="forward was replaced"):
        receptive_field(model, (2, 9, 7))


@pytest.mark.parametrize(
    ("forward", "size"),
    [
        (lambda m, x: m.norm(m.conv(x)), (9, 7)),
        (lambda m, x: F.batch_norm(x, None, None, training=True), (9, 7)),
        (lambda m, x: F.batch_norm(m.conv(x), m.zeros, m.ones), (3, 3)),
        (lambda m, x: F.instance_norm(m.conv(x)), (9, 7)),
        (
            lambda m, x: F.instance_norm(
                m.conv(x), m.zeros, m.ones, use_input_stats=False
            ),
            (3, 3),
        ),
    ],
)
def test_statistics_of_the_image_itself_see_all_of_it(forward, size):
    norm = nn.BatchNorm2d(2, track_running_stats=False)
    model = Function(forward, conv=conv(padding=1), norm=norm)
    model.zeros, model.ones = torch.zeros(2), torch.ones(2)
    assert last_agrees(model).size == size


def test_antialiased_resizing_is_exact():
    model = Function(lambda m, x: F.interpolate(x, 10, mode="bilinear", antialias=True))
    assert last_agrees(model, (16, 16)).span(9, 9) == (14, 15, 14, 15)
    assert last_agrees(model, (5, 23)).exact


@pytest.mark.parametrize("word", ["dim", "axis"])
def test_numpys_word_for_dimension_counts(word):
    along = {word: 1}
    for forward, size in [
        (lambda m, x: x.mean(keepdim=True, **along), (1, 1)),
        (lambda m, x: torch.sum(x, keepdim=True, **along) + x, (1, 1)),
        (lambda m, x: torch.cat((x, m.a(x)), **along), (3, 3)),
        (lambda m, x: x.max(keepdim=True, **along)[0], (1, 1)),
    ]:
        assert last_agrees(Function(forward, a=conv(padding=1))).size == size


@pytest.mark.parametrize("unbiased", [True, False])
def test_a_flag_is_no_dimension(unbiased):
    model = Function(lambda m, x: m.a(x) - x.var(unbiased), a=conv(padding=1))
    assert receptive_field(model, (2, 5, 6))[-1].size == (5, 6)


def test_option_without_a_rule_is_named():
    def forward(m, x):
        q = x.flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(q, q, q, enable_gqa=True)

    with pytest.raises(NotImplementedError, match="attention.*option enable_gqa"):
        receptive_field(Function(forward), (2, 9, 7))


def test_weight_norm_and_stochastic_depth_change_nothing():
    depth = torchvision.ops.StochasticDepth(0.5, "row")
    layers = [nn.utils.parametrizations.weight_norm(conv()), depth]
    with pytest.warns(FutureWarning):
        layers.append(nn.utils.weight_norm(conv()))
    field = receptive_field(nn.Sequential(*layers), (2, 9, 7))[-1]
    assert field.size == (5, 5)
    for name in ("efficientnet_b0", "convnext_tiny"):
        model = getattr(torchvision.models, name)(weights=None)
        assert receptive_field(model, (3, 32, 32))[-1].size == (32, 32)


@pytest.mark.parametrize("wrap", [torch.compile, AveragedModel, nn.DataParallel])
def test_wrapped_models_are_looked_through(wrap):
    plain = nn.Sequential(conv(), nn.ReLU(), conv())
    names = [f.name for f in receptive_field(plain, (2, 9, 7))]
    prefix = "_orig_mod." if wrap is torch.compile else "module."
    fields = receptive_field(wrap(plain), (2, 9, 7))
    assert [f.name for f in fields] == [prefix + name for name in names]
    assert {prefix + n for n in names} <= dict(wrap(plain).named_modules()).keys()
    inside = receptive_field(nn.Sequential(wrap(plain), conv(1)), (2, 9, 7))
    assert inside[-1].size == fields[-1].size == (5, 5)


def gated(m, x):
    one, other = m.a(x).chunk(2, dim=1)
    return one * F.silu(other)


def split_by_sizes(m, x):
    one, other = torch.split(m.a(x), [1, 1], 1)
    return F.silu(one).mul(other)


def grouped_kernels(m, x):
    """A kernel of its own size for each part of the channels (Tan and Le 2019)."""
    for _ in range(2):
        parts = zip((m.three, m.five), x.chunk(2, 1), strict=True)
        x = torch.cat([layer(part) for layer, part in parts], 1)
    return x


def first_part(m, x):
    return grouped_kernels(m, x)[:, :1]


@pytest.mark.parametrize(
    ("forward", "size"),
    [
        (gated, (3, 3)),
        (split_by_sizes, (3, 3)),
        (lambda m, x: F.glu(m.a(x), 1), (3, 3)),
        (grouped_kernels, (9, 7)),
        (first_part, (5, 5)),
    ],
)
def test_gates_and_groups_of_channels_are_exact(forward, size):
    layers = {
        k: nn.Conv2d(1, 1, n, padding="same") for k, n in (("three", 3), ("five", 5))
    }
    field = last_agrees(Function(forward, a=conv(padding=1), **layers))
    assert (field.size, field.exact) == (size, True)


def test_our_gated_unit_is_exact():
    unit = GatedUnit(32, dilation=4)  # filters of dilation 1, 2 and 4 side by side
    field = last_agrees(nn.Sequential(nn.Conv2d(2, 32, 1), unit), (11, 12))
    assert (field.size, field.exact) == ((9, 9), True)


def test_constant_beside_the_image_sees_nothing():
    both = Function(lambda m, x: torch.cat((x, m.bias.expand_as(x)), 1)[:, 2:] + 0)
    both.bias = torch.ones(1, 2, 1, 1)
    assert last_agrees(both).size == (0, 0)
    below = Function(lambda m, x: torch.cat((m.bias.expand_as(x), x), 2))
    below.bias = both.bias
    assert last_agrees(below).span(9, 0) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: F.pixel_unshuffle(x, 2)[:, :1] * 1.0,
        lambda m, x: torch.cat((F.pixel_unshuffle(x, 2), x[:, :, ::2, ::2]), 1)[:, :1],
        lambda m, x: F.pixel_shuffle(torch.cat((x, m.a(x)), 1), 2),
        lambda m, x: F.pad(F.pixel_unshuffle(x, 2), (0, 0, 0, 0, -1, 0)),
    ],
)
def test_parts_of_channels_taken_together_are_a_bound(forward):
    field = last_agrees(Function(forward, a=conv(padding=1)), (8, 8))
    assert not field.exact
