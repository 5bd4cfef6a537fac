"""What results/faster.csv says: minutes to 86.48 %, with one change after the other."""

import csv
import statistics
from pathlib import Path

LADDER = (  # the runs of results/faster.csv, each with all changes before it
    "textbook",
    "whole batches",
    "quick depthwise",
    "short format",
    "SGD with a schedule",
    "average",
    "label smoothing",
    "batches of 256",
    "Muon",
    "whitened filters",
    "zero-init residual",
    "crops by 2 pixels",
    "small images first",
    "harder images",
)


def runs_to_target(path: Path) -> list[dict]:
    """The rows of results/faster.csv, put together for each change; [] without a file.

    In the order in which the changes are made, one dict a run: `run`, `seeds`,
    `trained` (how many were not only timed), `reached` (how many got there), `minutes`
    (a list, of these), `gave_up_after` (minutes, mean of those that were trained, else
    of the timed; None unless nobody got there),
    `epochs` (mean of those that got there, or None), `images_per_second`, `hardware`,
    `torch`; `ratio`, the textbook's mean time divided by that of those that got there
    (or None), `ratio_is` ("exact", or "at least" if no textbook got there).
    Of several rows of a seed counts the one that was trained, and got there. Rows of
    other hardware than the first row's are left out.
    """
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [row for row in rows if row["hardware"] == rows[0]["hardware"]]
    rows.sort(key=lambda r: (r["measured"] == "training", r["seconds_to_86_48"] != ""))
    best = {(row["run"], row["seed"]): row for row in rows}  # the last one counts
    found = []
    for run in LADDER:
        mine = [row for (name, _), row in best.items() if name == run and row["epochs"]]
        got = [row for row in mine if row["seconds_to_86_48"]]
        if mine:
            found.append(_of_seeds(run, mine, got))
    for row in found:
        _compare(row, found[0])
    return found


def _of_seeds(run: str, rows: list[dict], got: list[dict]) -> dict:
    """One row of `runs_to_target`; `got`: the seeds that reached the target."""

    def mean(name, some):
        values = [float(row[name]) for row in some if row[name]]
        return statistics.fmean(values) if values else None

    trained = [row for row in rows if row["measured"] == "training"]
    spent = [
        int(row["epochs"])
        * int(row["training_images"])
        / float(row["images_per_second"])
        for row in trained or rows
    ]
    return {
        "run": run,
        "seeds": len(rows),
        "trained": len(trained),
        "reached": len(got),
        "minutes": [float(row["seconds_to_86_48"]) / 60 for row in got],
        "gave_up_after": None if got else statistics.fmean(spent) / 60,
        "epochs": mean("epochs_to_86_48", got),
        "images_per_second": mean("images_per_second", rows),
        "hardware": rows[0]["hardware"],
        "torch": rows[0]["torch"],
    }


def _compare(row: dict, textbook: dict) -> None:
    """Add the ratio to a row of `runs_to_target`: means of all seeds of either."""
    row["ratio"], row["ratio_is"] = None, "exact"
    if textbook["run"] != LADDER[0] or not row["minutes"]:
        return
    if not textbook["minutes"]:
        row["ratio_is"] = "at least"
    loop = statistics.fmean(textbook["minutes"] or [textbook["gave_up_after"]])
    row["ratio"] = loop / statistics.fmean(row["minutes"])
