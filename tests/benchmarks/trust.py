"""What notebook 12 compares with: two control networks, accuracy under corruptions.

    python -m tests.benchmarks.trust controls
    python -m tests.benchmarks.trust corruptions --networks champion baseline

`controls` trains one small network twice, with label smoothing and without; all else is
equal, and the 5,000 validation images of `split(seed=0)` are never trained on. Weights,
card and history of both go to cifar_helpers/weights/. The test set is looked at once
per finished run. `corruptions` judges shipped networks on all test images, as they are
and under every corruption at severity 1, 3 and 5, and writes a row for each into
results/corruptions.csv. What is already there is not repeated.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from cifar_helpers import corruptions, runtime
from cifar_helpers.data import LabelledImages, load_cifar10, split
from cifar_helpers.evaluation import collect_predictions, evaluate
from cifar_helpers.pretrained import card_of, load_card, load_pretrained, save_run
from cifar_helpers.recipes import PRESETS, make_model
from tests.benchmarks.rows import add_row, check_rehearsal, command_line, read_rows
from tests.benchmarks.running import fit_whole

CONTROL_NETWORK = replace(  # `cpu`, narrower: a few minutes of one core
    PRESETS["cpu"][0],
    channels=24,
    deep_channels=32,
    hidden_channels=56,
    branch_channels=16,
    out_channels=64,
)
CONTROL_RECIPE = replace(  # every image in every epoch, easy ones too
    PRESETS["cpu"][1], epochs=7, selective_drop_fraction=0.0
)
SEVERITIES = (1, 3, 5)
SMOOTHING = {"control_smoothed": 0.1, "control_plain": 0.0}

COLUMNS = (
    "network",
    "weights_sha256",
    "corruption",
    "severity",
    "images",
    "correct",
    "mean_confidence_percent",
    "mean_loss",
    "hardware",
    "torch",
    "command",
)


def train_control(name: str, data, epochs: int, out: Path) -> dict:
    """Train one of the two, and write its three files into `out`; the card."""
    training, validation = split(data.train, len(data.train) // 10, seed=0)
    recipe = replace(CONTROL_RECIPE, epochs=epochs, label_smoothing=SMOOTHING[name])
    model = make_model(CONTROL_NETWORK, recipe, training.images)
    model, history = fit_whole(model, training, recipe, validation)
    judged = evaluate(model, data.test)
    machine = runtime.describe_machine("cpu")
    card = card_of(recipe, history, data.source, len(training), machine)
    card["validation_images"] = len(validation)
    card["test_accuracy_percent"] = judged["accuracy_percent"]
    return save_run(out, name, model, history, card)


def judged_under(model, images: LabelledImages, corruption: str, severity: int) -> dict:
    """What a network makes of images under a corruption; severity 0: as they are."""
    spoiled = images.images
    if severity:
        spoiled = corruptions.corrupted(spoiled, corruption, severity)
    seen = collect_predictions(model, LabelledImages(spoiled, images.labels))
    return {
        "corruption": corruption,
        "severity": severity,
        "images": len(seen),
        "correct": int(seen.correct.sum()),
        "mean_confidence_percent": round(100 * seen.confidence.mean().item(), 3),
        "mean_loss": round(seen.mean_loss, 4),
    }


def corruption_rows(name: str, test: LabelledImages, kinds: list[str], done: set):
    """The rows of one network that are not `done` yet, one after another."""
    sha256 = load_card(name)["weights_sha256"]
    model = load_pretrained(name)
    cases = [("none", 0)]
    cases += [(c, s) for c in kinds for s in SEVERITIES]
    for corruption, severity in cases:
        if (sha256, corruption, severity) not in done:
            result = judged_under(model, test, corruption, severity)
            yield {"network": name, "weights_sha256": sha256, **result}


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.trust")
    parser.add_argument("part", choices=("controls", "corruptions"))
    parser.add_argument("--networks", nargs="+", default=["champion", "baseline"])
    parser.add_argument("--kinds", nargs="+", default=list(corruptions.NAMES))
    parser.add_argument("--source", default="full", help="sample: for a quick look")
    parser.add_argument("--epochs", type=int, default=CONTROL_RECIPE.epochs)
    parser.add_argument("--weights", default=str(runtime.WEIGHTS), help="of controls")
    parser.add_argument("--out", default=str(runtime.RESULTS / "corruptions.csv"))
    options = parser.parse_args(arguments)
    controls = options.part == "controls"
    path = Path(options.weights, "any") if controls else Path(options.out)
    check_rehearsal(parser, options, path)
    data = load_cifar10(source=options.source)
    if controls:
        for name in SMOOTHING:
            if not (Path(options.weights) / f"{name}.json").exists():
                card = train_control(name, data, options.epochs, Path(options.weights))
                print(name, card["test_accuracy_percent"], flush=True)
        return
    machine = runtime.describe_machine("cpu")
    done = {
        (row["weights_sha256"], row["corruption"], int(row["severity"]))
        for row in read_rows(path)
    }
    constants = {name: machine[name] for name in ("hardware", "torch")}
    constants["command"] = command_line("trust", arguments)
    for name in options.networks:
        for row in corruption_rows(name, data.test, options.kinds, done):
            add_row(path, row | constants, COLUMNS)
            print(row, flush=True)


if __name__ == "__main__":
    main()
