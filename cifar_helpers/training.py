"""Training: one loop for GPU and CPU, with the data in memory.

    python -m cifar_helpers.training --preset baseline --seed 0 --out runs/baseline

trains from a shell, resumes where it was interrupted, and writes weights, card and
history. In a notebook, `fit` does the same and returns the trained network.
"""

import argparse
import contextlib
import json
import math
import time
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from cifar_helpers import augment, checkpoints, runtime
from cifar_helpers.data import (
    CLASSES,
    SOURCES,
    LabelledImages,
    load_cifar10,
    normalize,
    split,
)
from cifar_helpers.download import CacheFolderError, DataUnavailable
from cifar_helpers.evaluation import check_log_probabilities, evaluate
from cifar_helpers.model import predict
from cifar_helpers.optimizers import make_optimizer, make_schedule
from cifar_helpers.pretrained import card_of, save_run
from cifar_helpers.recipes import PRESETS, Recipe, make_model

CHECK_EVERY = 50  # steps between looks at the losses: each look makes a GPU wait


class LossNotFinite(RuntimeError):
    """The loss became NaN or infinite; the message says at which step."""


class Trainer:
    """What changes during a run: weights, their average, optimizer, random draws."""

    memory_format = torch.channels_last  # a place's channels lie side by side

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
            recipe = replace(recipe, cutout_size=0, mixup_alpha=0.0)
        if recipe.crop_padding:
            images = augment.random_crop(images, recipe.crop_padding, draw)
        if recipe.flip:
            images = augment.random_flip(images, draw)
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
        if self.image_losses is None:
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


def train_one_epoch(
    trainer: Trainer, data: LabelledImages, progress=None, on_step=None
) -> dict:
    """As many images as `data` has, usually each once, in the order the trainer draws.

    Sums are divided once, at the end: a short last batch counts right. An epoch that
    was interrupted, and is in the trainer's state, goes on where it stopped.
    `on_step()` is called after every step.

    Returns `seconds`, `learning_rate` (after the last step), `train_loss` and
    `train_accuracy_percent` (both while training, on augmented images). Raises
    LossNotFinite with the step at which the loss ceased to be a number.
    """
    started = time.perf_counter()
    trainer.train_mode()
    epoch = trainer.begin_epoch(len(data))
    seconds_before, losses_to_check = epoch["seconds"], []
    batches = epoch["order"].split(trainer.recipe.batch_size)
    for index in batches[epoch["batches"] :]:
        images, labels = (t.index_select(0, index) for t in (data.images, data.labels))
        losses, right = trainer.train_step(images, labels)  # (N,), ()
        trainer.image_losses[index] = losses
        losses_to_check.append(losses.sum())
        epoch["loss_sum"] += losses_to_check[-1]
        epoch["correct"] += right
        epoch["batches"] += 1
        epoch["seconds"] = seconds_before + time.perf_counter() - started
        if len(losses_to_check) == CHECK_EVERY:
            _check_finite(losses_to_check, trainer)
            losses_to_check.clear()
        if progress is not None:
            progress.update(len(labels))
        if on_step is not None:
            on_step()
    _check_finite(losses_to_check, trainer)
    trainer.epoch = None
    return {
        "seconds": seconds_before + time.perf_counter() - started,
        "learning_rate": trainer.scheduler.get_last_lr()[0],
        "train_loss": epoch["loss_sum"].item() / len(data),
        "train_accuracy_percent": 100 * epoch["correct"].item() / len(data),
    }


def _check_finite(losses: list[Tensor], trainer: Trainer) -> None:
    bad = (~torch.isfinite(torch.stack(losses))).nonzero() if losses else ()
    if len(bad):
        step = trainer.step - len(losses) + bad[0].item() + 1
        raise LossNotFinite(
            f"the loss is not finite at step {step} (learning rate "
            f"{trainer.recipe.learning_rate}): lower the learning rate, lengthen the "
            "warm-up, or look for broken images or labels"
        )


def _check_outputs(trainer: Trainer, data: LabelledImages) -> None:
    """The last step has no loss after it: look at what the network says now."""
    if not predict(trainer.averaged.module, data.images[:2]).isfinite().all():
        raise LossNotFinite(
            f"the network's answers are not finite after step {trainer.step} (learning "
            f"rate {trainer.recipe.learning_rate}): lower the learning rate"
        )


class History(list):
    """One row (a dict) per epoch; `interrupted` says that the run was stopped."""

    interrupted = False


def fit(
    model: nn.Module,
    data: LabelledImages,
    recipe: Recipe,
    validation: LabelledImages | None = None,
    on_epoch=None,
    checkpoint: str | Path | None = None,
    make_trainer=Trainer,
) -> tuple[nn.Module, History]:
    """Train `model` where it lies; return the averaged network and the history.

    Training goes on from the weights that `model` has: `recipes.make_model` makes the
    ones from which a recipe starts. Modules in evaluation mode whose parameters want no
    gradient are frozen and stay so.

    The history has one row per epoch: `epoch`, what `train_one_epoch` returns, and
    `validation_loss` and `validation_accuracy_percent` of the averaged weights if there
    is a `validation` part. `on_epoch(history)` is called after every epoch. With
    `checkpoint`, a path, the run is saved there after every epoch and every minute, and
    goes on from there, to the same bits, if the file exists. Ctrl-C, or a notebook's
    stop button, ends it early: what was learned is returned, `history.interrupted` is
    True, and the same call with a checkpoint goes on. `make_trainer` may name another
    kind of Trainer.

    Raises LossNotFinite; ValueError for no images, a network that does not end in
    log-probabilities, sizes that do not fit, or a checkpoint of another run (it says in
    what they differ); checkpoints.CheckpointNotSaved where nothing can be written.
    """
    _check_run(model, data, recipe, validation)
    device = next(model.parameters()).device
    steps = recipe.epochs * math.ceil(len(data) / recipe.batch_size)
    history = History()
    with contextlib.ExitStack() as stack:
        saver = None
        if checkpoint is not None:
            stack.enter_context(checkpoints.locked(Path(checkpoint)))
            identity = checkpoints.identity(model, recipe, data, validation)
            saver = checkpoints.Saver(Path(checkpoint), identity)
        data, validation = data.to(device), validation and validation.to(device)
        trainer = make_trainer(model, recipe, steps)
        if saver:
            history.extend(saver.resume(trainer))
        try:
            _run_epochs(trainer, data, validation, history, on_epoch, saver)
        except KeyboardInterrupt:
            history.interrupted = True
            print(
                f"Stopped at step {trainer.step} of {steps}; the weights' average so "
                "far is returned. "
                + (f"Run again to go on from {saver.path.name}." if saver else "")
            )
    return trainer.averaged.module.eval(), history


def _run_epochs(trainer, data, validation, history, on_epoch, saver) -> None:
    """The epochs that `history` lacks; each adds its row."""
    epochs = trainer.recipe.epochs
    on_step = saver and partial(saver.save_now_and_then, trainer, history)
    seen = trainer.epoch["batches"] * trainer.recipe.batch_size if trainer.epoch else 0
    done = min(len(history) * len(data) + seen, epochs * len(data))
    with tqdm(
        total=epochs * len(data), initial=done, unit=" images", unit_scale=True
    ) as progress:
        for epoch in range(len(history) + 1, epochs + 1):
            row = {"epoch": epoch}
            row |= train_one_epoch(trainer, data, progress, on_step)
            _check_outputs(trainer, data)
            if validation is not None:
                result = evaluate(trainer.averaged.module, validation)
                row |= {f"validation_{name}": result[name] for name in result}
            history.append(row)
            progress.set_postfix_str(f"epoch {epoch}, loss {row['train_loss']:.3f}")
            if saver:
                saver.save(trainer, history)
            if on_epoch is not None:
                on_epoch(history)


def _check_run(model, data, recipe, validation) -> None:
    """Raise ValueError for what would fail, or teach nonsense, later on."""
    for part, purpose in ((data, "train"), (validation, "evaluate")):
        if part is not None and len(part) == 0:
            raise ValueError(f"there are no images to {purpose} on")
    size, step = recipe.low_resolution_size, getattr(model, "size_step", 1)
    if recipe.low_resolution_fraction and size % step:
        raise ValueError(
            f"low_resolution_size={size} does not fit this network: take a multiple of "
            f"{step}"
        )
    outputs = predict(model, data.images[:2])
    if outputs.isfinite().all():  # else the loss says at which step
        check_log_probabilities(outputs, len(CLASSES))


def train_preset(
    name: str, out, validation: int = 0, device="auto", source="full", **changes
) -> dict:
    """One run of a preset on the training set: files into `out`, the card returned.

    `validation` images are held out and judged after every epoch. Otherwise all are
    trained on and the test set is looked at, once, when the run is finished.
    `source` is that of `load_cifar10`: by default never the bundled sample.
    `changes` replace entries of the preset's Recipe. A run that is stopped raises
    KeyboardInterrupt and leaves its checkpoint; the same call goes on. Raises
    ValueError for an unknown name.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; take one of {sorted(PRESETS)}")
    network, recipe = PRESETS[name]
    recipe = replace(recipe, **changes)
    device = runtime.pick_device(device)
    checkpoint = Path(out) / f"{name}.checkpoint"
    with checkpoints.locked(checkpoint):  # find out now whether files can be written
        pass
    data = load_cifar10(source=source)
    held_out, training = None, data.train
    if validation:
        training, held_out = split(data.train, validation, seed=0)
    runtime.seed_everything(recipe.seed)
    model = make_model(network, recipe, training.images).to(device)
    model, history = fit(
        model,
        training,
        recipe,
        held_out,
        on_epoch=lambda rows: print(json.dumps(rows[-1]), flush=True),
        checkpoint=checkpoint,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    machine = runtime.describe_machine(device)
    card = card_of(recipe, history, data.source, len(training), machine)
    if validation:
        card["validation_accuracy_percent"] = history[-1]["validation_accuracy_percent"]
    else:
        judged = evaluate(model, data.test)
        card["test_accuracy_percent"] = judged["accuracy_percent"]
    return save_run(out, name, model.cpu(), history, card)


def main(arguments: list[str] | None = None) -> None:
    """The command line: every entry of Recipe can be changed by its name."""
    parser = argparse.ArgumentParser(
        prog="python -m cifar_helpers.training",
        description="Train a preset on CIFAR-10; run the same command again to resume.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), default="baseline")
    parser.add_argument("--out", default="runs", help="folder for weights and history")
    parser.add_argument("--validation", type=int, default=0, help="images held out")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--source", default="full", choices=SOURCES, help="of the data")
    for field in fields(Recipe):
        kind, switch = type(field.default), argparse.BooleanOptionalAction
        how = {"action": switch} if kind is bool else {"type": kind}  # --no-flip
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            help="default: the preset's",
            **how,
        )
    options = vars(parser.parse_args(arguments))
    expected = (ValueError, OSError, LossNotFinite, DataUnavailable, CacheFolderError)
    try:
        card = train_preset(options.pop("preset"), **options)
    except KeyboardInterrupt:
        parser.exit(130, "Run the same command again to go on.\n")
    except expected as error:
        parser.exit(1, f"{type(error).__name__}: {error}\n")
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
