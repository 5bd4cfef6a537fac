"""What changes during a run, and one step of it; `training` runs the epochs."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from cifar_helpers import augment, runtime
from cifar_helpers.data import CLASSES, normalize
from cifar_helpers.optimizers import make_optimizer, make_schedule
from cifar_helpers.recipes import Recipe

CLEAN = {  # changes of a recipe for its last steps: crop and flip alone are left
    "rotation_degrees": 0.0,
    "colour_strength": 0.0,
    "cutout_size": 0,
    "mixup_alpha": 0.0,
}


class Trainer:
    """What changes during a run: weights, their average, optimizer, random draws."""

    memory_format = torch.channels_last  # a place's channels lie side by side
    task = "labels"  # what the loss asks for: another one belongs to another run

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int):
        self.recipe = recipe
        self.device = next(model.parameters()).device
        if self.device.type == "cpu":
            runtime.keep_freed_memory()
        self.model = model.to(memory_format=self.memory_format)
        self.forward = model
        if recipe.compile:
            self.forward = torch.compile(model, dynamic=False)  # there are few shapes
        self.averaged = AveragedModel(
            model,
            multi_avg_fn=self.move_average,
            use_buffers=True,  # batch norm's statistics belong to the weights
        )
        self.held = [_floats_and_counts(m) for m in (self.averaged.module, model)]
        self.frozen = [m for m in model.modules() if is_frozen(m)]
        self.optimizer = make_optimizer(model, recipe)
        self.scheduler = make_schedule(self.optimizer, recipe, steps)
        self.generator = torch.Generator(self.device).manual_seed(recipe.seed)
        self.clean_start_step = steps - round(recipe.clean_fraction * steps)
        self.low_resolution_steps = round(recipe.low_resolution_fraction * steps)
        self.selective_start_step = round(recipe.selective_start_fraction * steps)
        self.image_losses = None  # (images,), each one's loss when it was last seen
        self.dtype = runtime.autocast_dtype(self.device)
        if recipe.precision != "auto":
            self.dtype = getattr(torch, recipe.precision)
        half = self.dtype == torch.float16  # Micikevicius et al. 2018, section 3.2
        self.scaler = torch.amp.GradScaler(self.device.type, 1024.0, enabled=half)
        self.step = 0
        self.epoch = None  # of the epoch that runs: what `begin_epoch` makes

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards the model's; the first time, copy them.

        `AveragedModel.update_parameters` does the same, but makes a GPU wait each time.
        """
        if self.step == 0:
            self.averaged.update_parameters(self.model)
            return
        for averages, values in zip(*self.held, strict=True):
            if averages:
                self.move_average(averages, values, None)
        self.averaged.n_averaged += 1  # lies on the CPU

    def move_average(self, averages, values, _) -> None:
        """One step of the exponential moving average, over lists of tensors.

        The decay starts low and rises to the recipe's, so that the average of a short
        run does not consist of its start.
        """
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - decay)
        else:  # batch norm's counters
            torch._foreach_copy_(averages, values)

    def train_mode(self) -> None:
        """Training mode, but for what is frozen: its batch norm must not move."""
        self.model.train()
        for module in self.frozen:
            module.eval()

    def train_step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One update from uint8 images; the loss of each (N,), how many were right."""
        inputs, targets = self.augmented(images, labels)
        losses, log_probabilities = self.gradients(inputs, targets)
        self.scaler.step(self.optimizer)  # as a whole, or not at all after an overflow
        self.scaler.update()
        self.scheduler.step()
        self.update_average()
        self.step += 1
        return losses, (log_probabilities.argmax(1) == labels).sum()

    def gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the weights' gradients; the losses (N,), the log-probabilities (N, 10).

        Nothing in here waits for a GPU, so that it can be captured as a CUDA graph.
        """
        with self.autocast():
            log_probabilities = self.forward(inputs)  # (N, 10)
        losses = self.losses(log_probabilities.float(), targets)  # (N,)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(losses.mean()).backward()
        return losses.detach(), log_probabilities.detach()

    def losses(self, log_probabilities: Tensor, targets: Tensor) -> Tensor:
        """What is to become small: each image's loss (N,), from two (N, 10)."""
        return soft_cross_entropy(log_probabilities, targets)

    def augmented(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Float inputs (N, 3, 32, 32), or smaller, and target probabilities."""
        recipe, draw = self.recipe, self.generator
        if recipe.clean_fraction and self.step >= self.clean_start_step:
            recipe = replace(recipe, **CLEAN)
        if recipe.crop_padding:
            images = augment.random_crop(images, recipe.crop_padding, draw)
        if recipe.flip:
            images = augment.random_flip(images, draw)
        if recipe.rotation_degrees:
            images = augment.random_rotation(images, recipe.rotation_degrees, draw)
        if recipe.colour_strength:
            images = augment.random_colour(images, recipe.colour_strength, draw)
        if recipe.cutout_size:
            images = augment.cutout(images, recipe.cutout_size, draw)
        inputs = normalize(images)
        if self.step < self.low_resolution_steps:
            size = (recipe.low_resolution_size, recipe.low_resolution_size)
            inputs = F.interpolate(inputs, size, mode="bilinear", antialias=True)
        inputs = inputs.contiguous(memory_format=self.memory_format)
        targets = augment.one_hot(labels, len(CLASSES), recipe.label_smoothing)
        return augment.mixup(inputs, targets, recipe.mixup_alpha, draw)

    def begin_epoch(self, images: int) -> dict:
        """The order of an epoch, and its sums so far if it was interrupted."""
        if self.epoch is None:
            self.epoch = {
                "order": self.draw_order(images),  # (images,)
                "batches": 0,
                "loss_sum": torch.zeros((), device=self.device),
                "correct": torch.zeros((), dtype=torch.int64, device=self.device),
                "seconds": 0.0,
            }
        return self.epoch

    def draw_order(self, images: int) -> Tensor:
        """Which of so many images to look at in an epoch, and in which order (images,).

        All of them, shuffled. With selective backprop (after Jiang et al. 2019,
        arXiv:1910.00762), from its start on and once each has been seen: those with the
        highest losses, shuffled again and again until there are as many.
        """
        if self.image_losses is None or len(self.image_losses) != images:
            self.image_losses = torch.full((images,), math.inf, device=self.device)
        chosen = torch.arange(images, device=self.device)
        all_seen = self.image_losses.isfinite().all()
        late = self.step >= self.selective_start_step
        if self.recipe.selective_drop_fraction and late and all_seen:
            easiest_first = self.image_losses.argsort(stable=True)
            easy = round(self.recipe.selective_drop_fraction * images)
            chosen = easiest_first[min(easy, images - 1) :]
        count, passes = len(chosen), math.ceil(images / len(chosen))
        draw = {"generator": self.generator, "device": self.device}
        orders = [chosen[torch.randperm(count, **draw)] for _ in range(passes)]
        return torch.cat(orders)[:images]

    def autocast(self):
        """Runs matrix products in `self.dtype`; does nothing for float32."""
        enabled = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype, enabled=enabled)

    def state(self) -> dict:
        """Everything that a later process needs to go on exactly from here."""
        cuda = self.device.type == "cuda"
        return {
            "device": self.device.type,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),  # empty unless float16
            "generator": self.generator.get_state(),
            "torch_generator": torch.get_rng_state(),  # dropout's; MPS's is not kept
            "cuda_generator": torch.cuda.get_rng_state(self.device) if cuda else None,
            "image_losses": self.image_losses,
            "step": self.step,
            "epoch": self.epoch,
        }

    def load_state(self, state: dict) -> None:
        """The inverse of `state`; on another kind of device, with new random draws."""
        for name in ("model", "averaged", "optimizer", "scheduler"):
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]
        if self.scaler.is_enabled() and state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        if state["image_losses"] is not None:
            self.image_losses = state["image_losses"].to(self.device)
        if state["epoch"] is not None:
            self.epoch = {
                name: value.to(self.device) if isinstance(value, Tensor) else value
                for name, value in state["epoch"].items()
            }
        if state["device"] == self.device.type:
            self.generator.set_state(state["generator"])
            torch.set_rng_state(state["torch_generator"])
        if state["device"] == self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_generator"], self.device)


def _floats_and_counts(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """What a model holds: parameters and statistics; batch norm's counts of batches."""
    held = [*model.parameters(), *model.buffers()]
    floats = [tensor.detach() for tensor in held if tensor.is_floating_point()]
    return floats, [tensor for tensor in held if not tensor.is_floating_point()]


def soft_cross_entropy(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """Each image's -sum(targets * log_probabilities), (N,), from two (N, classes)."""
    return -(targets * log_probabilities).sum(dim=1)


def is_frozen(module: nn.Module) -> bool:
    """Whether it was set to evaluation mode and all its parameters to no gradient."""
    learns = [parameter.requires_grad for parameter in module.parameters()]
    return bool(learns) and not any(learns) and not module.training
