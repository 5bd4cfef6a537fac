"""Forms of a training step: the same numbers, computed in different ways on a GPU.

A depthwise convolution can be left to cuDNN ("plain"), become a dense one whose filters
are zero off the diagonal ("dense", for tensor cores; where a 1 x 1 convolution follows
at once, the two become one), or a sum of nine shifted maps ("shifts", for
`torch.compile`, which fuses them with what stands around). A step can run operation by
operation or be recorded once and replayed as a CUDA graph, compiled or not.
"""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cifar_helpers import runtime
from cifar_helpers.blocks import DepthwiseSeparableConv, GatedUnit
from cifar_helpers.data import LabelledImages
from cifar_helpers.depthwise import DepthwiseConv2d
from cifar_helpers.recipes import PRESETS, Recipe, make_model, with_batches_of
from cifar_helpers.trainer import Trainer
from cifar_helpers.training import train_one_epoch
from tests.benchmarks.gpu_teacher import taught

COARSE = PRESETS["champion"][0]
DESIGNS = {
    "A": replace(  # fine maps: 198,748 parameters, 62.8 M multiply-adds
        COARSE,
        initial_stride=1,
        channels=48,
        deep_channels=80,
        near_dilations=(2, 4),
        far_stride=2,  # dilations 4, 8 behind it: 8, 16 image pixels
        far_step="first",
        up_groups=8,
        refining_units=2,
        aspp_stride=1,
        aspp_pooled=False,
    ),
    "C": COARSE,  # 196,915 parameters, 37.3 M multiply-adds
    "baseline": PRESETS["baseline"][0],
}
BATCH_SIZE = 128  # the champion's


@dataclass(frozen=True)
class Form:
    """How a step is computed; the defaults are the way that always works."""

    depthwise: str = "plain"  # or "dense", "shifts"
    compiled: str = ""  # or "units": the gated ones, each by itself; "whole": all
    graph: bool = False  # captured once, then replayed: CUDA only
    precision: str = "bfloat16"  # "tf32", "float32", "float16"
    channels_last: bool = True  # in memory a place's channels lie side by side

    def __str__(self) -> str:
        compiled = (f"{self.compiled} compiled",) if self.compiled else ()
        graph = "CUDA graph" if self.graph else "eager"
        order = () if self.channels_last else ("channels first",)
        return ", ".join((self.depthwise, *compiled, graph, *order))


def forms_to_measure(device: torch.device, design: str) -> list[tuple]:
    """(design, form, batch size), in order of worth; the first is the reference.

    On a CPU a few, one of which cannot work there: a rehearsal.
    """
    if device.type != "cuda":
        slow = Form(precision="float32")
        forms = [slow, replace(slow, graph=True), replace(slow, depthwise="dense")]
        return [(design, form, 50) for form in forms]
    graph = Form(graph=True)
    dense = replace(graph, depthwise="dense")
    forms = [Form(), graph, dense]
    simple = [Form(precision=name) for name in ("float32", "tf32", "float16")]
    simple += [Form(channels_last=False)]
    compiled = [
        replace(dense, compiled="units"),
        replace(graph, compiled="units"),
        replace(graph, compiled="whole"),
        replace(graph, depthwise="shifts", compiled="units"),
    ]
    measured = [(design, form, BATCH_SIZE) for form in (*forms, *simple)]
    measured += [(design, graph, size) for size in (32, 500, 1000)]
    measured += [("baseline", form, 256) for form in (simple[0], *forms[:2])]
    other = "C" if design == "A" else "A"
    measured += [(other, form, BATCH_SIZE) for form in forms]
    return measured + [(design, form, BATCH_SIZE) for form in compiled]


def recipe_of(
    epochs: int,
    form: Form,
    images: int,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
    network: str = "C",
) -> Recipe:
    """The champion's in such batches, or the baseline's own in batches of 256.

    `recipes.with_batches_of` says how rates, decays and average go with the batch. The
    average spans at most a tenth of the run.
    """
    preset = PRESETS["baseline" if network == "baseline" else "champion"][1]
    size = 256 if network == "baseline" else batch_size
    recipe = with_batches_of(preset, size)
    steps = -(-images // size) * epochs
    return replace(
        recipe,
        ema_decay=max(0.5, min(recipe.ema_decay, 1 - 1 / max(steps / 10, 1))),
        precision="float32" if form.precision == "tf32" else form.precision,
        compile=form.compiled == "whole",
        epochs=epochs,
        seed=seed,
    )


# ---- depthwise convolutions ----------------------------------------------------------


class DenseDepthwise(DepthwiseConv2d):
    """The same as a dense convolution, whose other weights are zero."""

    def forward(self, x: Tensor) -> Tensor:
        taps = self.weight[:, 0].permute(1, 2, 0)  # (3, 3, C)
        weight = torch.diag_embed(taps).permute(2, 3, 0, 1)  # (C, C, 3, 3)
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation)


class ShiftedDepthwise(DepthwiseConv2d):
    """The same as a sum of nine shifted maps, in float32 within a fused operation."""

    def forward(self, x: Tensor) -> Tensor:
        (height, width), d, s = x.shape[2:], self.dilation[0], self.stride[0]
        padded, total = F.pad(x, (d, d, d, d)), 0.0
        for i in range(3):
            for j in range(3):
                rows = slice(i * d, i * d + height, s)
                columns = slice(j * d, j * d + width, s)
                weight = self.weight[:, 0, i, j].view(1, -1, 1, 1)
                total = total + padded[:, :, rows, columns].float() * weight
        return total.to(x.dtype)


class ComposedSeparable(DepthwiseSeparableConv):
    """Depthwise, then 1 x 1, as one dense convolution with weights P[o, i] D[i]."""

    def forward(self, x: Tensor) -> Tensor:
        layer = self.depthwise
        weight = self.pointwise.weight * layer.weight.transpose(0, 1)  # (O, I, 3, 3)
        y = F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation)
        y = self.norm(y)
        return self.activation(y + x if self.residual else y)


DEPTHWISE = {"plain": DepthwiseConv2d, "dense": DenseDepthwise}
DEPTHWISE["shifts"] = ShiftedDepthwise


def use(model: nn.Module, depthwise: str) -> nn.Module:
    """Compute depthwise convolutions so from now on; the weights stay as they are."""
    separable = ComposedSeparable if depthwise == "dense" else DepthwiseSeparableConv
    for module in model.modules():
        if isinstance(module, DepthwiseConv2d):
            module.__class__ = DEPTHWISE[depthwise]
        elif isinstance(module, DepthwiseSeparableConv):
            module.__class__ = separable
    return model


# ---- CUDA graphs ---------------------------------------------------------------------


class GraphTrainer(Trainer):
    """Forward and backward pass are captured once per shape and then replayed.

    A replay reads and writes always the same memory, so inputs are copied there, and
    each shape has gradients of its own. Augmentation and the update stay outside: their
    random draws and rates change from step to step.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int):
        super().__init__(model, recipe, steps)
        self.captured = {}

    def gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        shape = tuple(inputs.shape)
        if shape not in self.captured:
            self.captured[shape] = self.capture(inputs, targets)
        graph, given, outputs, gradients = self.captured[shape]
        given[0].copy_(inputs)
        given[1].copy_(targets)
        graph.replay()
        for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        return outputs

    def capture(self, inputs: Tensor, targets: Tensor) -> tuple:
        """Three passes to set everything up, on a stream of their own; then record."""
        given = inputs.clone(), targets.clone()
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                super().gradients(*given)
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = super().gradients(*given)
        gradients = [parameter.grad for parameter in self.model.parameters()]
        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(before)  # those passes have seen nothing
        return graph, given, outputs, gradients


def trainer_of(form: Form, teacher: nn.Module | None = None):
    """What makes a form's Trainer; sets what holds for the whole process.

    With a teacher, the Trainer learns from its answers, too.
    """
    if form.compiled:
        torch.compiler.reset()  # a unit may be compiled for a few shapes only
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = form.precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = form.precision == "tf32"
    kind = GraphTrainer if form.graph else Trainer
    kind = kind if form.channels_last else channels_first(kind)
    return partial(make_trainer, form, taught(kind, teacher) if teacher else kind)


def channels_first(kind: type) -> type:
    """A kind of Trainer whose maps lie in memory one after the other."""

    class ChannelsFirst(kind):
        memory_format = torch.contiguous_format

    return ChannelsFirst


def make_trainer(
    form: Form, kind: type, model: nn.Module, recipe: Recipe, steps: int
) -> Trainer:
    """A Trainer that computes in a form, but for `use`.

    Units compiled one by one take a fraction of the time that the whole would, as equal
    ones share their code. The averaged network, copied before, is not compiled.
    """
    trainer = kind(model, recipe, steps)
    for module in model.modules():
        if isinstance(module, GatedUnit) and form.compiled == "units":
            module.compile(dynamic=False)
    return trainer


# ---- measuring -----------------------------------------------------------------------


def synthetic(count: int) -> LabelledImages:
    """Images (count, 3, 32, 32) of ten coarse patterns under noise, with labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 10
    patterns = torch.randn(10, 3, 4, 4, generator=generator)
    patterns = F.interpolate(patterns, scale_factor=8.0)  # (10, 3, 32, 32)
    noise = torch.randn(count, 3, 32, 32, generator=generator)
    images = 128 + 25 * patterns[labels] + 50 * noise
    return LabelledImages(images.clamp(0, 255).to(torch.uint8), labels)


def measure(
    design, form: Form, batch_size: int, seconds: float, device, teacher=None
) -> dict:
    """Images per second of real steps; what shows whether they are right.

    That is the length of each parameter's first gradient, and the losses of two passes
    over 20 batches. Residual branches start at random, so that all have a gradient.
    """
    data = synthetic(20 * batch_size if device.type == "cuda" else 2 * batch_size)
    recipe = recipe_of(10, form, 50_000, 0, batch_size, design)
    recipe = replace(recipe, zero_init_residual=False, low_resolution_fraction=0.0)
    runtime.seed_everything(0)
    model = make_model(DESIGNS[design], recipe, data.images).to(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    make_trainer = trainer_of(form, teacher)
    trainer = make_trainer(use(model, form.depthwise), recipe, 400)
    data, losses, rates = data.to(device), [], []
    trainer.train_mode()
    batch = data.subset(slice(batch_size))
    trainer.gradients(*trainer.augmented(batch.images, batch.labels))
    gradients = torch.stack([p.grad.float().norm() for p in model.parameters()])
    gradients = gradients.tolist()  # sets things up, and waits for it
    started = time.perf_counter()
    while len(losses) < 2 or time.perf_counter() - started < seconds:
        row = train_one_epoch(trainer, data)
        losses.append(row["train_loss"])
        rates.append(len(data) / row["seconds"])
    rate = sorted(rates[1:])[len(rates[1:]) // 2]
    found = {"images_per_second": round(rate, 1), "losses": losses[:2]}
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        found["peak_memory_mib"] = round(peak / 2**20)
    return found | {"gradients": gradients}


def trains_correctly(row: dict, reference: dict) -> bool:
    """Whether first gradients and losses are those of the reference, but for rounding.

    bfloat16 moves the lengths of gradients by 4 to 5 %; a depthwise convolution with
    its filters turned around moves them by 21 %, one that passes no gradient on by 51 %
    (design A, 25 images, on a CPU). Losses differ by a few thousandths.
    """
    return all(
        difference(row[name], reference[name]) < limit
        for name, limit in (("gradients", 0.1), ("losses", 0.03))
    )


def difference(values: list[float], reference: list[float]) -> float:
    """Relative, over all together."""
    wanted = torch.tensor(reference)
    return ((torch.tensor(values) - wanted).norm() / wanted.norm()).item()


def choose(rows: list[dict], design: str, hardware: str) -> tuple[Form, float | None]:
    """The fastest form that trains as the reference does, and its images per second.

    Of those that are not compiled: a run has four shapes (small images, last batches),
    and to compile for each of them can take more than it saves.

    Without a measurement that counts, the form that works on every GPU since Ampere, in
    bfloat16, and None.
    """
    here = [row for row in rows if row["hardware"] == hardware and "losses" in row]
    here = [row for row in here if row["design"] == design]
    if not here:
        return Form(), None
    reference = here[0]
    able = [
        row
        for row in here
        if row["batch_size"] == reference["batch_size"]
        and row["form"]["precision"] == reference["form"]["precision"]
        and not row["form"]["compiled"]
        and trains_correctly(row, reference)
    ]
    best = max(able, key=lambda row: row["images_per_second"], default=reference)
    return Form(**best["form"]), best["images_per_second"]


def row_of(design: str, form: Form, batch_size: int, device) -> dict:
    """What is known of a measurement before it is made."""
    machine = runtime.describe_machine(device)
    row = {"design": design, "form": asdict(form), "batch_size": batch_size}
    row["words"] = str(form)
    return row | {name: machine[name] for name in ("hardware", "torch")}
