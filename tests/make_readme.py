"""Write the tables of README.md and RESULTS.md from the cards and results files.

    python -m tests.make_readme            write them
    python -m tests.make_readme --check    only say whether they are up to date

A table stands between `<!-- results:NAME -->` and `<!-- end -->`, NAME being one of
`TABLES`. All other text is left alone. ± is a 95 % interval.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, floor, hypot
from pathlib import Path
from statistics import median
from textwrap import fill

from cifar_helpers import runtime, worth
from cifar_helpers.ablation import variant_name
from cifar_helpers.factorial import Effect
from cifar_helpers.intervals import (
    mean_interval,
    pooled_intervals,
    unpaired_interval,
    welch_interval,
    wilson_interval,
)
from cifar_helpers.ladder import runs_to_target
from cifar_helpers.pretrained import load_card, read_history
from cifar_helpers.recipes import PRESETS, Recipe
from tests.benchmarks.faster import TARGET, has_schedule
from tests.benchmarks.rows import read_rows
from tests.benchmarks.stepwise import STEPS, short_rows, short_runs

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = (README, ROOT / "RESULTS.md")
ABLATION = runtime.RESULTS / "ablation.csv"
BUDGET = runtime.RESULTS / "budget.csv"
TEST_IMAGES = 10_000
NETWORKS = {  # name: what it is
    "baseline": "the default `NetConfig()`",
    "cpu": "for ten minutes on two cores",
    "separable": "wider, of the same separable units, trained for longer",
    "champion": "gated units, the most accurate",
}
CONTENDERS = {  # name in laptop.csv: what it is
    "cpu": "preset `cpu`: the six parts",
    "resnet8-24": "reference network: ResNet-8, widened, dense convolutions",
}
SUMMARY = {  # a card's name or one in laptop.csv: what it is
    "cpu": "`cpu`, the six parts, in ten minutes",
    "resnet8-24": "a plain network beside it: ResNet-8, widened, by the same loop",
    "baseline": "`baseline`, the six parts, SGD with a schedule",
    "champion": "`champion`, the six parts with gated units",
}
GROUPS = {  # the first notebook of each group
    "01": "The data",
    "02": "The blocks",
    "08": "The network",
    "10": "Training and judging",
    "13": "Going further",
}
ON_GPU = {  # a run in champion.csv: what it is
    "champion": "the champion, trained on a CPU",
    "champion-A-0": "design A, on finer maps",
    "taught-A-0": "the same, taught",
    "teacher-A": "its teacher: ResNet-8, 128 channels and more",
}
TEACHERS = {  # files that taught.csv names, and what they are of
    "runs/turned/champion.safetensors": "the run with turned images",
    "runs/taught/first.safetensors": "the outcome of these 18 epochs",
}
QUESTIONS = {
    "01_meet_the_data": "what is in CIFAR-10, how hard is it, what can ten lines do",
    "02_convolution_block": "what do convolution, batch norm, ReLU and dropout each do",
    "03_depthwise_separable": "what does splitting a convolution save",
    "04_dilated_convolution": "how does dilation widen the view, what does it miss",
    "05_channel_attention": "which channels does a network listen to",
    "06_deconvolution_and_residual": "what do upsampling and shortcuts bring back",
    "07_aspp": "are several scales better than one, on a 32 × 32 map",
    "08_assemble_the_network": "where do 200,000 parameters go",
    "09_receptive_field": "what can each unit see, and what does it see",
    "10_train_on_gpu": "how does one train, what does a GPU need to be busy",
    "11_evaluate": "how good is it, and how sure are we",
    "12_where_to_trust_it": "when may you believe its answer",
    "13_train_faster": "what makes ten minutes on two cores enough",
    "14_what_each_block_buys": "which blocks are worth their weights",
    "15_same_budget_higher_accuracy": "what lifts accuracy at the same budget",
}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machines(rows: Iterable[dict], hardware: str = "hardware") -> str:
    """Every machine that the rows were measured on, each named once."""
    names = dict.fromkeys(f"{row[hardware]}, torch {row['torch']}" for row in rows)
    return "; ".join(names)


def duration(seconds: float) -> str:
    """In seconds, or in minutes (half a minute counts as a whole one)."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{floor(seconds / 60 + 0.5)} min"


def minutes_of(name: str) -> str:
    """How long the training of a shipped network took, and whether it was held up."""
    history = read_history(runtime.WEIGHTS / f"{name}.csv")
    seconds = [row["seconds"] for row in history]
    held_up = max(seconds) > 3 * median(seconds)
    taken = duration(load_card(name)["train_seconds"])
    return f"{taken} with pauses" if held_up else taken


def wilson_range(accuracy: float) -> str:
    """The 95 % interval of an accuracy, in per cent, on the test images."""
    right = round(accuracy * TEST_IMAGES / 100)
    return "{:.1f} to {:.1f}".format(*wilson_interval(right, TEST_IMAGES))


def judged_before(name: str) -> str:
    """Test accuracies of earlier versions of a network or its recipe."""
    rows = read_rows(runtime.RESULTS / "champion.csv")
    rows = [r for r in rows if r["run"] == name and r["test_accuracy_percent"]]
    card, by_length = load_card(name), {}
    for row in rows[: rows.index(shipped_run(name))]:
        by_length.setdefault(row["epochs"], []).append(row["test_accuracy_percent"])
    runs = [f"{', '.join(a)} % ({epochs} epochs)" for epochs, a in by_length.items()]
    return "; ".join([*card.get("judged_before", []), *runs]) or "no"


def shipped_run(name: str) -> dict:
    """The row of champion.csv that a shipped network's card describes."""
    card = load_card(name)
    for row in read_rows(runtime.RESULTS / "champion.csv"):
        if (
            row["run"] == name
            and row["test_accuracy_percent"]
            and float(row["test_accuracy_percent"]) == card["test_accuracy_percent"]
            and float(row["seconds"]) == card["train_seconds"]
        ):
            return row
    raise ValueError(f"champion.csv has no row of the run on {name}'s card")


def networks() -> str:
    """The trained networks that the package holds."""
    rows, cards = [], {name: load_card(name) for name in NETWORKS}
    for name, card in cards.items():
        accuracy = card["test_accuracy_percent"]
        length = f"{card['recipe']['epochs']} epochs"
        rows.append([
            f"`{name}`, {NETWORKS[name]}",
            f"{card['parameters']:,}",
            f"{card['multiply_adds'] / 1e6:.1f} M",
            f"**{accuracy:.2f} %** ({wilson_range(accuracy)})",
            f"{length}, {minutes_of(name)}",
            judged_before(name),
        ])  # fmt: skip
    header = ["network", "parameters", "multiply-adds", "test accuracy (95 %, Wilson)"]
    header += ["training", "judged before"]
    seeds = ", ".join(sorted({str(card["seed"]) for card in cards.values()}))
    trained_on = {}
    for name, card in cards.items():
        trained_on.setdefault(machines([card]), []).append(f"`{name}`")
    places = "; ".join(f"{', '.join(names)} on {m}" for m, names in trained_on.items())
    note = (
        f"One run each (seed {seeds}; {places}: minutes of different processors cannot "
        "be compared) on all training images: the averaged weights (EMA) of the last "
        "epoch, without test-time augmentation. The intervals are those of drawing the "
        "test images, not of training again. The last column: what earlier lengths and "
        "recipes had reached on the test set, known when the present ones were chosen. "
        f"{put_aside()}"
    )
    return f"{table(header, rows)}\n\n{fill(note, 88)}"


def put_aside() -> str:
    """What the champion's network reached in runs of other lengths and recipes."""
    names, told = runs_put_aside(), []
    for run in read_rows(runtime.RESULTS / "champion.csv"):
        if run["run"] in names:
            accuracy = float(run["test_accuracy_percent"])
            told.append(
                f"{run['epochs']} epochs, with {in_words(run)}: {accuracy:.2f} % "
                f"({wilson_range(accuracy)}), "
                f"{float(run['train_accuracy_percent']):.1f} % of the training images, "
                f"{duration(float(run['seconds']))} with pauses on {machines([run])}"
            )
    return (
        "The champion's network was trained in other ways as well: "
        f"{'; '.join(told)}. These runs were put aside, so the champion is the one of "
        f"{len(names) + 1} that did best on the test set. {gone_on_with()}"
    )


def in_words(run: dict) -> str:
    """What sets the recipe of a run that was put aside apart from the champion's."""
    recipe = json.loads(run["recipe"])
    if recipe.get("mixup_alpha"):
        return "mixup, and with neither mixup nor cutout in the last tenth"
    if recipe.get("rotation_degrees"):
        return (
            f"images turned by up to {recipe['rotation_degrees']:g} degrees and "
            f"colours changed by up to {100 * recipe['colour_strength']:g} %"
        )
    return "the same recipe"


def gone_on_with() -> str:
    """What stored weights reached when they were trained on, in two ways."""
    enlarged, taught = (
        read_rows(runtime.RESULTS / f"{name}.csv") for name in ("enlarged", "taught")
    )
    told = [*map(with_larger_maps, enlarged), *map(with_teachers, taught)]
    told.append(
        "Cards and histories of what was taught lie in `cifar_helpers/results/taught`."
    )
    if all(float(run["share"]) for run in taught):
        told.append(
            "The same epochs without teachers (`--share 0`) have not been run, so "
            "teaching has not been told from them."
        )
    return " ".join(told)


def with_larger_maps(run: dict) -> str:
    """A row of enlarged.csv in a sentence."""
    times = int(run["multiply_adds"]) / load_card("champion")["multiply_adds"]
    return (
        f"Trained on for {run['epochs']} epochs with images enlarged to "
        f"{run['size']} × {run['size']} (`{run['command']}`), with {times:.1f} times "
        f"the multiply-adds, it reached {beside_champion(run)}"
    )


def with_teachers(run: dict) -> str:
    """A row of taught.csv in a sentence."""
    *others, last = (
        f"`{name}` ({TEACHERS[name]})" if name in TEACHERS else f"`{name}`"
        for name in run["teachers"].split()
    )
    named = f"{', '.join(others)} and {last}"
    blended = float(run["mixup_alpha"])
    images = f", on blended images (mixup, alpha {blended:g})" if blended else ""
    taught = f"Taught by them for {run['epochs']} epochs more{images}"
    if not float(run["share"]):
        taught = f"From labels alone, in {run['epochs']} epochs more{images}"
    return (
        f"Together, {named} are right about "
        f"{float(run['together_test_accuracy_percent']):.2f} % of the test images (the "
        f"mean of their probabilities). {taught} (`{run['command']}`), the last of "
        f"them alone reached {beside_champion(run)}"
    )


def beside_champion(run: dict) -> str:
    """The accuracy of a row, and its difference from the shipped champion's."""
    low, high = float(run["difference_low"]), float(run["difference_high"])
    told = "no gain is shown" if low <= 0 <= high else "a difference is shown"
    return (
        f"{float(run['test_accuracy_percent']):.2f} %, "
        f"{float(run['difference']):+.2f} points ({low:+.2f} to {high:+.2f}, paired, "
        f"on the same test images) from the champion's: {told}."
    )


def runs_put_aside() -> list[str]:
    """Names in champion.csv of runs of the champion's network that are not shipped."""
    return [name for name in unshipped_runs() if name.startswith("champion-")]


def unshipped_runs() -> list[str]:
    """Names in champion.csv of finished runs whose weights are not in the package."""
    return sorted(path.stem for path in (runtime.RESULTS / "runs").glob("*.json"))


def on_gpu() -> str:
    """What the GPU program trained, beside the champion."""
    runs, rows = read_rows(runtime.RESULTS / "champion.csv"), []
    judged = {run["run"]: run for run in runs if run["test_accuracy_percent"]}
    judged["champion"] = shipped_run("champion")
    for name, label in ON_GPU.items():
        run = judged[name]
        shipped = name == "champion"
        taken = minutes_of(name) if shipped else duration(float(run["seconds"]))
        accuracy = float(run["test_accuracy_percent"])
        rows.append([
            label,
            f"{int(run['parameters']):,}",
            f"{int(run['multiply_adds']) / 1e6:.0f} M",
            run["epochs"],
            f"{float(run['train_accuracy_percent']):.1f} %",
            f"{accuracy:.2f} % ({wilson_range(accuracy)})",
            f"{taken}, {run['hardware'].split(',')[0]}",
        ])  # fmt: skip
    header = ["network", "parameters", "multiply-adds", "epochs", "while training"]
    header += ["test accuracy (95 %, Wilson)", "training"]
    timed = [
        f"the target of {float(run['target_percent']):g} % was not reached "
        f"({run['reached_percent']} % after {run['epochs']} epochs, "
        f"{float(run['train_seconds']):.0f} s)"
        for run in read_rows(runtime.RESULTS / "gpu_times.csv")
        if run["network"] == "A"  # the champion's will be a table of their own
    ]
    short = [
        f"{float(run['validation_accuracy_percent']):.2f} % in batches of "
        f"{json.loads(run['recipe'])['batch_size']}"
        for run in runs
        if (run["run"], run["epochs"]) == ("champion", "8")
    ]
    note = (
        "One run each, seed 0, all 50,000 training images, the averaged weights of the "
        "last epoch. The GPU runs' cards, and the histories of the small networks, lie "
        "in `cifar_helpers/results/gpu`. In runs "
        "of design A over 45,000 images, judged by 5,000 others, "
        f"{' and '.join(timed)}. "
        "The champion's own "
        "network after eight passes over them, by its own recipe and by that of these "
        f"runs, both with shorter averages: {' and '.join(short)} (one run each)."
    )
    return f"{table(header, rows)}\n\n{fill(note, 88)}"


def to_target() -> str:
    """Minutes to 86.48 %, from the textbook's loop to the preset `cpu`."""
    runs, rows = runs_to_target(runtime.RESULTS / "faster.csv"), []
    for run in runs:
        minutes = run["minutes"]
        if len(minutes) > 1:
            taken = "{:.1f} ± {:.1f}".format(*mean_interval(minutes))
        elif minutes:
            taken = f"{minutes[0]:.1f}"
        else:
            taken = f"more than {floor(run['gave_up_after'])}"
        least = "at least " * (run["ratio_is"] != "exact")
        rows.append([
            run["run"],
            f"{run['images_per_second']:,.0f}",
            f"{run['reached']} of {run['trained']}" if run["trained"] else "only timed",
            f"{run['epochs']:.1f}" if run["epochs"] else "",
            taken,
            f"{least}{rounded_down(run['ratio'])}" if run["ratio"] else "",
        ])  # fmt: skip
    reckoned = [
        float(row["validation_accuracy_percent"])
        for row in read_rows(runtime.RESULTS / "faster.csv")
        if has_schedule(row["run"]) and row["seconds_to_86_48"]
    ]
    short = [accuracy for accuracy in reckoned if accuracy < TARGET]
    header = ["with", "images/s", "seeds with a time", "epochs", "minutes"]
    header += ["the textbook's time / its own"]
    note = (
        f"{machines(runs)}; the network of `cpu`, 45,000 images, 5,000 others judge. "
        "Each row has the changes of all rows above it. The rows between the textbook "
        "and “short format” change the speed alone: they were timed. Three rows "
        "change more than their names say: SGD with a schedule has a rate (0.1) and a "
        "decay (0.0005) of its own, larger batches have twice the rate, and Muon has "
        "its own decay. With a schedule a run is trained at a length that ends near "
        "the target, and its epochs and minutes are reckoned from there, by the slope "
        "of accuracy over the length; "
        f"{len(short)} of these {len(reckoned)} results lie below it, by "
        f"{TARGET - min(short):.2f} points at most (“SGD with a schedule” and "
        "“average” judge the same runs). "
        "± is the 95 % interval of the mean over seeds (Student's t), without the "
        "error of that slope; "
        "the last column divides the time of a textbook that was stopped after 30 "
        "epochs (one seed) by the mean over seeds, whose ± it shares."
    )
    return f"{table(header, rows)}\n\n{fill(note, 88)}"


def rounded_down(number: float) -> str:
    """With one decimal, and never more than the number: for lower bounds."""
    return f"{floor(10 * number) / 10:.1f}"


def laptop_runs() -> dict[str, list[dict]]:
    """The ten-minute runs by network, on the file's first processor.

    Of each network those that are as long as its first one: what is appended later, in
    other lengths, is another result.
    """
    rows, length = read_rows(runtime.RESULTS / "laptop.csv"), {}
    rows = [row for row in rows if row["cpu"] == rows[0]["cpu"]]
    for row in rows:
        length.setdefault(row["network"], row["epochs"])
    return {
        name: [r for r in rows if (r["network"], r["epochs"]) == (name, length[name])]
        for name in CONTENDERS
    }


def accuracies(runs: list[dict]) -> list[float]:
    return [float(run["test_accuracy_percent"]) for run in runs]


def longest(runs: list[dict]) -> int:
    """Seconds of training that no run exceeds."""
    return ceil(max(float(run["train_seconds"]) for run in runs))


def runs_elsewhere() -> dict[tuple[str, str], list[dict]]:
    """Runs of `cpu` by processor and epochs, but for those of the file's first one."""
    rows, groups = read_rows(runtime.RESULTS / "laptop.csv"), {}
    for row in rows:
        if row["network"] == "cpu" and row["cpu"] != rows[0]["cpu"]:
            groups.setdefault((row["cpu"], row["epochs"]), []).append(row)
    return groups


def on_other_processors() -> str:
    """What runs of `cpu` needed on every processor but the file's first."""
    said = ""
    for (name, epochs), runs in runs_elsewhere().items():
        values = accuracies(runs)
        reached = f"{values[0]:.2f} % (one seed)"
        if len(values) > 1:
            middle, half = mean_interval(values)
            reached = f"{middle:.2f} ± {half:.2f} % ({len(values)} seeds)"
        said += (
            f" On {name}, torch {runs[0]['torch']}, {epochs} epochs of `cpu` took at "
            f"most {longest(runs)} s for {reached}"
        )
        ratios = [float(r["ratio_to_textbook"]) for r in runs if r["ratio_to_textbook"]]
        if ratios:
            said += (
                " (30 epochs of a textbook's loop over 45,000 images, which do not get "
                f"to 86.48 %, take at least {rounded_down(min(ratios))} times as long)"
            )
        said += "."
    return said


def difference_of_contenders() -> tuple[float, float, float]:
    """Of the mean accuracies: the first's minus the second's, with Welch's interval."""
    middle, half = welch_interval(*map(accuracies, laptop_runs().values()))
    return middle, middle - half, middle + half


def ten_minutes() -> str:
    """The preset `cpu` beside the reference network, several seeds each."""
    by_network, rows = laptop_runs(), []
    for name, runs in by_network.items():
        middle, half = mean_interval(accuracies(runs))
        rows.append([
            CONTENDERS[name],
            f"{int(runs[0]['parameters']):,}",
            runs[0]["epochs"],
            str(len(runs)),
            f"**{middle:.2f} ± {half:.2f} %**",
            f"at most {longest(runs)} s",
        ])  # fmt: skip
    header = ["network", "parameters", "epochs", "seeds", "test accuracy", "training"]
    difference, low, high = difference_of_contenders()
    if low <= 0 <= high:
        verdict = "it includes zero, so these runs do not show that either is ahead"
    else:
        verdict = f"the {'first' if low > 0 else 'second'} is ahead"
    every_run = [run for runs in by_network.values() for run in runs]
    note = (
        f"{machines(every_run, 'cpu')}. ± is the 95 % interval of the mean over seeds "
        f"(Student's t). The difference of the means is {difference:.2f} points, with "
        f"a 95 % interval from {low:.2f} to {high:.2f} (Welch): {verdict}."
        f"{on_other_processors()}"
    )
    return f"{table(header, rows)}\n\n{fill(note, 88)}"


def stepwise() -> str:
    """Validation accuracy from the baseline to the champion, step by step."""
    path = runtime.RESULTS / "champion.csv"
    runs = short_runs(path)
    intervals, spread = pooled_intervals([runs[name] for name in STEPS])
    gains = [""] + [  # half-widths of independent means add up like a hypotenuse
        f"{after - before:+.1f} ± {hypot(half_before, half):.1f}"
        for (before, half_before), (after, half) in pairwise(intervals)
    ]
    rows = []
    for name, (middle, half), gain in zip(STEPS, intervals, gains, strict=True):
        network, recipe = STEPS[name]
        changes = [f"`{entry}`" for entry in recipe]
        if network:
            changes.insert(0, f"{len(network)} entries of the network")
        reached = f"{middle:.1f} ± {half:.1f} %"
        cells = (", ".join(changes), str(len(runs[name])), reached, gain)
        rows.append([name, *cells])
    used = [row for row in short_rows(path) if row["run"] in STEPS]
    header = ["step", "what it changes", "seeds", "validation accuracy", "gain"]
    note = (
        f"Two passes over 45,000 images, 5,000 others judge; {machines(used)}. So few "
        "runs a step say little about their spread, so ± takes it from all steps "
        f"together (standard deviation {spread:.2f} points): a 95 % interval, if the "
        "spread is the same in each."
    )
    return f"{table(header, rows)}\n\n{fill(note, 88)}"


def points(effect: Effect) -> str:
    """A difference with its interval; bold where it can be told from none."""
    text = f"{effect.points:+.2f} ± {effect.half_width:.2f}"
    return text if effect.verdict == "not to be told apart" else f"**{text}**"


def blocks() -> str:
    """What each idea buys, from all combinations of six."""
    runs = worth.stored_runs()
    fitted = worth.effects(runs)
    around = {effect.name: effect for effect in fitted.where_all_on}
    sizes = runs.groupby("variant")["parameters"].first() / 1000
    rows = [
        [
            e.name,
            f"{sizes['whole'] - sizes[variant_name(e.factors)]:+.1f}",
            points(e),
            points(around[e.name]),
            around[e.name].verdict,
        ]
        for e in fitted.with_factors(1)
    ]
    header = ["idea", "thousand parameters", "on average", "where all others are on"]
    header += ["there it is"]
    images, judges = (
        f"{runs[name][0]:,}" for name in ("training_images", "validation_images")
    )
    note = (
        f"Points of validation accuracy that the network `cpu` has with the idea more "
        f"than without it; {len(runs)} runs of {runs['epochs'][0]} epochs of {images} "
        f"training images, {judges} others judge, {runs['seed'].nunique()} seed each; "
        f"{machines(runs.to_dict('records'))}. A fit with interactions of up to three "
        "ideas. Bold and in the last column: what is clear of zero after Holm's "
        "correction for six comparisons."
    )
    return f"{table(header, rows)}\n\n{fill(note, 88)}"


def confirmed() -> str:
    """Networks at full length, against the whole one."""
    networks, effects = worth.confirmed()
    if not effects:
        return "No network has two runs at full length so far."
    minus = {effect.name: effect for effect in effects}
    rows = []
    for name, row in networks.iterrows():
        sizes = f"{row['parameters']:,.0f}", f"{row['multiply_adds'] / 1e6:.1f} M"
        reached = f"{row['mean']:.2f} %", points(minus[name]) if name in minus else ""
        rows.append([name, *sizes, f"{row['runs']:.0f}", *reached])
    header = ["network", "parameters", "multiply-adds", "seeds"]
    header += ["validation accuracy", "minus the whole (points)"]
    runs = [row for row in read_rows(ABLATION) if row["design"] == "confirmation"]
    images, judges = (
        f"{int(runs[0][name]):,}" for name in ("training_images", "validation_images")
    )
    note = (
        f"{runs[0]['epochs']} epochs of {images} training images, {judges} others "
        f"judge; {machines(runs)}. "
        "± is a 95 % interval from one spread, common to all networks; bold: clear of "
        f"zero after Holm's correction for {len(effects)} comparisons."
    )
    return f"{table(header, rows)}\n\n{fill(note, 88)}"


def equal_lengths() -> str:
    """Presets at equal epochs and equal seconds."""
    rows = [r for r in read_rows(BUDGET) if r["design"].startswith("equal")]
    groups = {}
    for row in rows:
        groups.setdefault((row["variant"], int(row["epochs"])), []).append(row)
    cells = []
    for (name, epochs), runs in groups.items():
        reached = [float(run["validation_accuracy_percent"]) for run in runs]
        speeds = [r["images_per_second"] for r in runs if r["images_per_second"]]
        seen = epochs * int(runs[0]["training_images"])
        minutes = sum(seen / float(s) / 60 for s in speeds) / max(len(speeds), 1)
        accuracy = f"{reached[0]:.2f} %"
        if len(reached) > 1:
            accuracy = "{:.2f} ± {:.2f} %".format(*mean_interval(reached))
        work = f"{int(runs[0]['multiply_adds']) / 1e6:.1f} M"
        taken = f"{minutes:.1f} min" if speeds else ""
        cells.append([name, work, str(epochs), taken, str(len(runs)), accuracy])
    header = ["network and recipe", "multiply-adds", "epochs", "processor time"]
    header += ["seeds", "validation accuracy"]
    return f"{table(header, cells)}\n\n{machines(rows)}."


def own_recipe(run: dict) -> bool:
    """Whether the run's preset was followed in everything but the length."""
    recipe, own = json.loads(run["recipe"]), PRESETS[run["run"].partition("-")[0]][1]
    return replace(Recipe(**recipe), epochs=own.epochs) == own


def as_long() -> str:
    """What was trained on all images for as many epochs as the champion, and it."""
    length = load_card("champion")["recipe"]["epochs"]
    known = unshipped_runs()
    runs = [
        run
        for run in read_rows(runtime.RESULTS / "champion.csv")
        if run["run"] in known and run["epochs"] == str(length) and own_recipe(run)
    ]
    runs.sort(key=lambda run: run["test_accuracy_percent"])
    runs.append(shipped_run("champion"))
    rows, best = [], float(runs[-1]["test_accuracy_percent"])
    for run in runs:
        accuracy = float(run["test_accuracy_percent"])
        behind, half = unpaired_interval(accuracy, best, TEST_IMAGES)
        rows.append([
            run["run"].partition("-")[0],
            f"{int(run['multiply_adds']) / 1e6:.1f} M",
            f"{accuracy:.2f} % ({wilson_range(accuracy)})",
            f"{behind:+.2f} ± {half:.2f}" if run is not runs[-1] else "",
        ])  # fmt: skip
    header = ["network and recipe", "multiply-adds"]
    header += ["test accuracy (95 %, Wilson)", "minus the champion (points)"]
    seeds = ", ".join(sorted({run["seed"] for run in runs}))
    note = (
        f"{length} epochs of all 50,000 training images, one run each (seed {seeds}); "
        f"{machines(runs)}. ± is the 95 % interval of drawing the test images "
        "(independently for both: paired answers would give a narrower one), not of "
        "training again."
    )
    return f"{table(header, rows)}\n\n{fill(note, 88)}"


def summary() -> str:
    """Four rows: what was reached, with how many parameters, in which time."""
    rows = []
    for name, what in SUMMARY.items():
        if name in CONTENDERS:
            runs = laptop_runs()[name]
            middle, half = mean_interval(accuracies(runs))
            interval = f"{middle - half:.1f} to {middle + half:.1f}, {len(runs)} seeds"
            taken = duration(max(float(run["train_seconds"]) for run in runs))
            parameters, epochs = int(runs[0]["parameters"]), runs[0]["epochs"]
        else:
            card = load_card(name)
            middle = card["test_accuracy_percent"]
            interval = f"{wilson_range(middle)}, one run"
            parameters, epochs = card["parameters"], card["recipe"]["epochs"]
            taken = minutes_of(name)
        accuracy = f"**{middle:.2f} %** ({interval})"
        rows.append([what, f"{parameters:,}", f"{epochs}", taken, accuracy])
    header = ["network", "parameters", "epochs", "training", "test accuracy"]
    _, low, high = difference_of_contenders()
    told = "cannot be told apart" if low <= 0 <= high else "can be told apart"
    whole = laptop_runs()["cpu"][0]["epochs"]
    quick = next(
        runs
        for (processor, epochs), runs in runs_elsewhere().items()
        if processor.endswith("2 threads, bfloat16") and epochs == whole
    )
    note = (
        "Trained on two CPU cores, the champion on one with bfloat16. Intervals are at "
        "the 95 % level: of the mean over seeds (Student's t), or, for one run, of "
        "drawing the test images (Wilson). The first two "
        f"{told} (their difference: {low:.1f} to {high:.1f} points, Welch). On two "
        f"cores with bfloat16 the first takes {duration(longest(quick))}. The champion "
        f"is the one of {len(runs_put_aside()) + 1} long runs of its network, each "
        "begun with new weights, that did best on the test set."
    )
    return f"{table(header, rows)}\n\n{fill(note, 88)}"


def notebooks() -> str:
    """The series in groups, with a picture each and the time of the stored run."""
    times = read_rows(runtime.RESULTS / "notebooks.csv")
    counts = Counter(machines([row]) for row in times)
    (machine, _), *others = counts.most_common()
    runs_in = {
        row["notebook"]: duration(float(row["seconds"]))
        + ("" if machines([row]) == machine else " \\*")
        for row in times
    }
    rows = []
    for name, question in QUESTIONS.items():
        if name[:2] in GROUPS:
            rows.append(["", f"**{GROUPS[name[:2]]}**", "", ""])
        path, picture = f"notebooks/{name}.ipynb", f"notebooks/images/{name[:2]}.png"
        if (ROOT / path).exists():
            shown = f'<img src="{picture}" width="120" alt="">'
            rows.append([shown, f"[{name}]({path})", question, runs_in.get(name, "")])
    header = ["", "notebook", "its question", "runs in"]
    note = "".join(f"; \\*: {other}" for other, _ in others)
    return f"{table(header, rows)}\n\nOn the full data; {machine}{note}."


TABLES = {
    "blocks": blocks,
    "confirmed": confirmed,
    "equal-lengths": equal_lengths,
    "as-long": as_long,
    "summary": summary,
    "networks": networks,
    "on-gpu": on_gpu,
    "to-target": to_target,
    "ten-minutes": ten_minutes,
    "stepwise": stepwise,
    "notebooks": notebooks,
}
PART = re.compile(
    r"<!-- results:([\w-]+) -->\n((?:(?!<!-- results:).)*?)<!-- end -->", re.DOTALL
)


def with_tables(text: str) -> str:
    """`text` with every table made anew. ValueError for a marker without its pair."""
    first, last = text.count("<!-- results:"), text.count("<!-- end -->")
    if not first == last == len(PART.findall(text)):
        raise ValueError("every `<!-- results:NAME -->` needs one `<!-- end -->`")

    def made_anew(part: re.Match) -> str:
        return f"<!-- results:{part[1]} -->\n{TABLES[part[1]]()}\n<!-- end -->"

    return PART.sub(made_anew, text)


def main(arguments: list[str] | None = None) -> int:
    """See the module's docstring. Returns 1 if a check finds an old table."""
    parser = argparse.ArgumentParser(prog="python -m tests.make_readme")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    outdated = []
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = with_tables(old)
        if new != old:
            outdated.append(page.name)
            if not options.check:
                page.write_text(new, encoding="utf-8", newline="\n")
    if options.check and outdated:
        names = ", ".join(outdated)
        print(f"old tables in {names}: run python -m tests.make_readme")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
