"""Attempts at the exercises of notebook 06."""

from torch import nn

from cifar_helpers.checks import deconvolution_and_residual as checks


def shortcut_kept(x, f):
    kept = x.clone()
    return f(x) + kept


def zeroing(*names):
    """An attempt that zeroes the named parameters of each block."""

    def attempt(stack):
        for block in stack:
            for name in names:
                nn.init.zeros_(block.get_parameter(name))

    return attempt


def frozen(stack):
    zeroing("norm.weight")(stack)
    stack.requires_grad_(False)


def removed(stack):
    for index in range(len(stack)):
        stack[index] = nn.Identity()


def last_only(stack):
    nn.init.zeros_(stack[-1].norm.weight)


def small(stack):
    for block in stack:
        nn.init.constant_(block.norm.weight, 0.01)


PADDING = checks.doubling_padding
WEAKER, IDENTITY = checks.weaker_blocks, checks.start_as_identity
BLOCK = checks.residual_block
RIGHT = [
    (PADDING, lambda k: ((k - 1) // 2, k % 2)),
    (WEAKER, (428.5, 1.31)),
    (BLOCK, lambda x, f: x + f(x.clone())),
    (BLOCK, shortcut_kept),
    (IDENTITY, zeroing("norm.weight")),
    (IDENTITY, zeroing("norm.weight", "norm.bias")),
]
WRONG = [
    (PADDING, lambda k: ((k - 2) // 2, 0), "odd kernel"),
    (PADDING, lambda k: ((k - 1) // 2, 1), "even kernel output_padding makes"),
    (PADDING, lambda k: (k // 2, 0), "5 pixels become 8"),
    (PADDING, lambda k: (0, 2 - k), "from 0 on, not (0, -1)"),
    (PADDING, lambda k: ((k - 1) // 2, 2), "smaller than the stride"),
    (PADDING, lambda k: ((k - 2) / 2, k % 2), "0.5", "Divide with //"),
    (PADDING, lambda k: k // 2, "Return two whole numbers"),
    (WEAKER, (1.31, 428.5), "order"),
    (WEAKER, (8.2, 8.4), "some hundreds", "without batch norm"),
    (WEAKER, (428.5, 428.5), "did `scale` reach"),
    (WEAKER, (1 / 428.5, 1.31), "first over last"),
    (WEAKER, (-428.5, 1.31), "positive"),
    (WEAKER, [428.5], "Give two numbers"),
    (WEAKER, ([428.5, 1.3], [1.3, 1.2]), "each should be a number"),
    (BLOCK, lambda x, f: f(x) + x, "changes its input in place", "x.clone()"),
    (BLOCK, lambda x, f: x + f(x), "changes its input in place"),
    (BLOCK, lambda x, f: f(x.clone()), "shortcut is missing"),
    (BLOCK, lambda x, f: x, "Only the shortcut"),
    (BLOCK, lambda x, f: 2 * x, "the result"),
    (IDENTITY, zeroing("pointwise.weight"), "Do not zero the pointwise"),
    (IDENTITY, zeroing("depthwise.weight"), "Do not zero the depthwise"),
    (IDENTITY, zeroing("norm.weight", "pointwise.weight"), "Do not zero the pointwise"),
    (IDENTITY, frozen, "frozen parameter"),
    (IDENTITY, removed, "Keep all blocks"),
    (IDENTITY, lambda stack: stack.double(), "Keep all blocks"),
    (IDENTITY, last_only, "should be the identity", "What comes last in f"),
    (IDENTITY, small, "should be the identity"),
]
