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
from tqdm.auto import tqdm

from cifar_helpers import checkpoints, runtime
from cifar_helpers.data import CLASSES, SOURCES, LabelledImages, load_cifar10, split
from cifar_helpers.download import CacheFolderError, DataUnavailable
from cifar_helpers.evaluation import check_log_probabilities, evaluate
from cifar_helpers.model import predict
from cifar_helpers.pretrained import card_of, save_run
from cifar_helpers.recipes import PRESETS, Recipe, make_model
from cifar_helpers.trainer import Trainer

CHECK_EVERY = 50  # steps between looks at the losses: each look makes a GPU wait


class LossNotFinite(RuntimeError):
    """The loss became NaN or infinite; the message says at which step."""


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
    goes on from there if the file exists, on the same CPU to the same bits. Ctrl-C, or
    a notebook's stop button, ends it early: what was learned is returned,
    `history.interrupted` is True, and the same call goes on from the checkpoint, if
    one has been saved by then.
    `make_trainer` may name another kind of Trainer.

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
        trainer = make_trainer(model, recipe, steps)
        if checkpoint is not None:
            identity = checkpoints.identity(
                model, recipe, data, validation, trainer.task
            )
            saver = checkpoints.Saver(Path(checkpoint), identity)
            history.extend(saver.resume(trainer))
        data, validation = data.to(device), validation and validation.to(device)
        try:
            _run_epochs(trainer, data, validation, history, on_epoch, saver)
        except KeyboardInterrupt:
            history.interrupted = True
            print(
                f"Stopped at step {trainer.step} of {steps}; the weights' average so "
                f"far is returned. {saver.how_to_go_on() if saver else ''}"
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
