"""Where a network looked: class activation maps, Grad-CAM, occlusion; and a check.

Images are uint8 (N, 3, H, W), as in the data; maps have no unit of their own but that
which their function states, and none says that the network is right.
"""

import copy

import torch
from torch import Tensor, nn

from cifar_helpers.data import MEAN, normalize
from cifar_helpers.evaluation import check_log_probabilities
from cifar_helpers.hooks import captured
from cifar_helpers.model import evaluation_mode, predict, whole_number

LOGITS = "head.linear"  # the layer of `CIFAR10Net` that gives one score per class


def class_activation_map(features: Tensor, weights: Tensor) -> Tensor:
    """What each place of the last feature map adds to each class's score.

    `features` (N, C, H, W) go into global average pooling, `weights` (K, C) are those
    of the linear layer behind it; returns (N, K, H, W). The mean of a map over its
    places is the class's logit without the bias. Source: Zhou et al. 2016, "Learning
    Deep Features for Discriminative Localization", equation 2.
    """
    if features.ndim != 4:
        shape = tuple(features.shape)
        raise ValueError(f"features must have shape (N, C, H, W), got {shape}")
    if weights.ndim != 2 or weights.shape[1] != features.shape[1]:
        raise ValueError(
            f"weights must have shape (K, {features.shape[1]}), one column per "
            f"feature channel, got {tuple(weights.shape)}"
        )
    return torch.einsum("nchw,kc->nkhw", features, weights)  # (N, K, H, W)


def grad_cam(
    model: nn.Module, images: Tensor, labels: Tensor, layer: str = "aspp"
) -> Tensor:
    """Grad-CAM of each image for its class in `labels`, (N, h, w) of that layer.

    The maps of `layer`, each weighted by the mean gradient of the class's logit with
    respect to it, added up, without what is negative. `labels` is int64 (N,). The
    model's weights, gradients and mode stay as they are. Source: Selvaraju et al. 2017,
    "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    equations 1 and 2.
    """
    labels = torch.as_tensor(labels)
    if labels.dtype != torch.int64 or labels.shape != (len(images),):
        raise ValueError(
            f"labels must be int64 of shape ({len(images)},), one class per image, got "
            f"{labels.dtype} {tuple(labels.shape)}"
        )
    first = next(model.parameters())
    inputs = normalize(images.to(first.device)).to(first.dtype)  # (N, 3, H, W)
    with (
        evaluation_mode(model),
        torch.enable_grad(),
        captured(model, layer, LOGITS) as kept,
    ):
        model(inputs.requires_grad_())  # so that frozen layers have gradients too
        features, logits = kept[layer][-1], kept[LOGITS][-1]  # (N, C, h, w), (N, K)
        if features.ndim != 4:
            raise ValueError(f"layer {layer!r} gives no maps (N, C, h, w)")
        classes = logits.shape[1]
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(f"labels must lie between 0 and {classes - 1}")
        scores = logits.gather(1, labels.to(logits.device)[:, None])  # (N, 1)
        (gradients,) = torch.autograd.grad(scores.sum(), features)
    weights = gradients.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    return (weights * features).sum(dim=1).relu().detach().cpu()  # (N, h, w)


def patch_masks(height: int, width: int, patch: int, stride: int) -> Tensor:
    """A mask per position of a square patch on a grid, (P, height, width) bool.

    The last row and column of the grid touch the border whatever the stride.
    """
    patch = whole_number("patch", patch, least=None)
    stride = whole_number("stride", stride, least=None)
    if not 1 <= patch <= min(height, width):
        limit = min(height, width)
        raise ValueError(f"patch must lie between 1 and {limit} pixels, got {patch}")
    if not 1 <= stride <= patch:
        raise ValueError(
            f"stride must lie between 1 and the patch's {patch} pixels, so that no "
            f"pixel is left out, got {stride}"
        )
    tops = sorted({*range(0, height - patch + 1, stride), height - patch})
    lefts = sorted({*range(0, width - patch + 1, stride), width - patch})
    masks = torch.zeros(len(tops) * len(lefts), height, width, dtype=torch.bool)
    places = ((top, left) for top in tops for left in lefts)
    for mask, (top, left) in zip(masks, places, strict=True):
        mask[top : top + patch, left : left + patch] = True
    return masks


def covered(images: Tensor, masks: Tensor) -> Tensor:
    """The images, grey where the masks are True; grey is the data's mean colour.

    uint8 (N, 3, H, W) and bool (N, H, W), or one of the two a single one for all; on
    the CPU. Raises TypeError for other dtypes, ValueError for shapes that do not fit.
    """
    if images.dtype != torch.uint8 or masks.dtype != torch.bool:
        raise TypeError(
            f"need uint8 images and bool masks, got {images.dtype} and {masks.dtype}"
        )
    same_size = images.shape[-3:] == (3, *masks.shape[-2:])
    if not same_size or len({*images.shape[:-3], *masks.shape[:-2]} - {1}) > 1:
        raise ValueError(
            f"masks {tuple(masks.shape)} do not fit images {tuple(images.shape)}"
        )
    grey = (255 * torch.tensor(MEAN)).round().to(torch.uint8)[:, None, None]
    return torch.where(masks.cpu()[..., None, :, :], grey, images.cpu())


def occlusion_map(
    model: nn.Module,
    image: Tensor,
    label: int,
    patch: int = 6,
    stride: int = 2,
    batch_size: int | None = None,
) -> Tensor:
    """How much the probability of class `label` drops when a place is covered.

    `image` is uint8 (3, H, W). A square of `patch` pixels in the data's mean colour, a
    grey, moves over it by `stride`; each pixel of the returned (H, W) float32 map is
    the mean drop over the patches that cover it. Negative: covering it helps the
    class. Source: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional
    Networks", section 4.2.
    """
    if not isinstance(image, Tensor):
        kind = type(image).__name__
        raise TypeError(f"image must be a tensor, such as test.images[0], got {kind}")
    label = whole_number("label", label, least=None)
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise ValueError(
            f"image must be uint8 of shape (3, H, W), got {image.dtype} "
            f"{tuple(image.shape)}"
        )
    masks = patch_masks(*image.shape[1:], patch, stride)  # (P, H, W)
    pictures = torch.cat([image.cpu()[None], covered(image, masks)])  # (1 + P, 3, H, W)
    log_probabilities = predict(model, pictures, batch_size)  # (1 + P, K)
    classes = log_probabilities.shape[1]
    check_log_probabilities(log_probabilities, classes)
    if not 0 <= label < classes:
        raise ValueError(f"label must lie between 0 and {classes - 1}, got {label}")
    probabilities = log_probabilities.exp()
    drops = probabilities[0, label] - probabilities[1:, label]  # (P,)
    return torch.einsum("p,phw->hw", drops, masks.float()) / masks.sum(dim=0)


@torch.no_grad()
def shuffled(model: nn.Module, parts=None, seed: int = 0) -> nn.Module:
    """A copy of the model in which the entries of every weight tensor are permuted.

    `parts` names the children to shuffle (all by default; what belongs to no child
    stays); what is learned in them is gone, but each tensor keeps its values.
    Statistics of batch norm stay. For the randomization check of Adebayo et al. 2018,
    "Sanity Checks for Saliency Maps": a map that does not change does not show what the
    network has learned. Raises ValueError for a part that is not there.
    """
    twin = copy.deepcopy(model)
    names = [name for name, _ in model.named_children()]
    parts = names if parts is None else list(parts)
    for part in parts:
        if part not in names:
            raise ValueError(f"the model has no part {part!r}; its parts are {names}")
    generator = torch.Generator().manual_seed(seed)
    for name, values in twin.named_parameters():
        if name.split(".")[0] in parts:
            order = torch.randperm(values.numel(), generator=generator)
            flat = values.flatten()[order.to(values.device)]
            values.copy_(flat.reshape(values.shape))
    return twin
