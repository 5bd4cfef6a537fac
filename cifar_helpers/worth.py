"""What the stored runs say of each idea: is it worth having?

The runs are those of results/ablation.csv (`python -m tests.benchmarks.ablation`):
networks with some of the six ideas of `cifar_helpers.ablation.SWITCHES` switched off.
Notebook 14 explains how they are read; notebooks 03 to 07 quote it.
"""

from dataclasses import replace

import pandas as pd

from cifar_helpers import runtime
from cifar_helpers.ablation import SWITCHES, variant_name
from cifar_helpers.factorial import Effect, Fit, compare, fit_effects

ENOUGH = 32  # runs of a design: half of its networks
DESIGNS = ("factorial", "small-factorial")  # the longer runs, the shorter ones
ACCURACY = "validation_accuracy_percent"


def stored_runs(design: str | None = None, path=None) -> pd.DataFrame:
    """The runs of one design, a row each: the longer ones, if there are enough.

    `design`: that one, "factorial" (longer) or "small-factorial". `path`: a csv with
    the columns of results/ablation.csv, which is the default. Designs are never mixed,
    since a shorter run is another question. Raises ValueError if there is no such run.
    """
    table = pd.read_csv(path or runtime.RESULTS / "ablation.csv")
    longer, shorter = (table[table["design"] == name] for name in DESIGNS)
    chosen = longer if len(longer) >= ENOUGH or shorter.empty else shorter
    if design is not None:
        chosen = table[table["design"] == design]
    if chosen.empty:
        raise ValueError(f"no run of {design or ' or '.join(DESIGNS)} in the table")
    return chosen.reset_index(drop=True)


def confirmed(path=None) -> tuple[pd.DataFrame, list[Effect]]:
    """Runs at full length: a row for each network, and each minus the whole network.

    The table, indexed by the network's name, has the numbers of `epochs`, `runs`,
    `parameters` and `multiply_adds`, and the `mean` accuracy in percent. `path` as in
    `stored_runs`.
    Networks with a single run are left out; without two runs of the whole network both
    are empty.
    """
    table = pd.read_csv(path or runtime.RESULTS / "ablation.csv")
    by_name = table[table["design"] == "confirmation"].groupby("variant", sort=False)
    groups = {name: list(g[ACCURACY]) for name, g in by_name if len(g) > 1}
    rows = by_name.agg(
        epochs=("epochs", "first"),
        runs=("seed", "size"),
        parameters=("parameters", "first"),
        multiply_adds=("multiply_adds", "first"),
        mean=(ACCURACY, "mean"),
    )
    if "whole" not in groups:
        return rows.iloc[:0], []
    return rows.loc[list(groups)], compare(groups, "whole")


def bought_at_full_length(
    idea: str, same_parameters: bool = False, path=None
) -> Effect | None:
    """What the whole network has more than the one without the idea; None: no runs.

    With `same_parameters`, the one without it is made as large as the whole by other
    widths. The sign of `confirmed` turned, its intervals and corrected p kept.
    """
    return _bought(confirmed(path)[1], idea, same_parameters)


def _bought(against: list[Effect], idea: str, same_parameters: bool) -> Effect | None:
    name = variant_name((idea,)) + ", same parameters" * same_parameters
    found = (effect for effect in against if effect.name == name)
    turned = (replace(e, factors=(idea,), points=-e.points) for e in found)
    return next(turned, None)


def effects(runs: pd.DataFrame) -> Fit:
    """What each idea buys, in points of validation accuracy, from all runs at once."""
    on = runs[list(SWITCHES)].to_numpy(dtype=int)
    values = runs[ACCURACY].to_numpy()
    return fit_effects(list(SWITCHES), on, values, blocks=runs["seed"])


def pairs(runs: pd.DataFrame, idea: str) -> pd.Series:
    """With the idea minus without it, for each two networks that differ in it alone.

    In points of validation accuracy, the mean over the seeds that both were trained
    with. The index is the other five switches, 1 for on. Raises KeyError for an unknown
    idea.
    """
    others = [name for name in SWITCHES if name != idea]
    reached = runs.groupby([*others, "seed", idea])[ACCURACY].mean().unstack(idea)
    reached = reached.reindex(columns=[0, 1])  # where one of them was never trained
    return (reached[1] - reached[0]).dropna().groupby(others).mean()


def summary(runs: pd.DataFrame, idea: str, path=None) -> str:
    """What the runs say of an idea, in a few lines of text.

    The last lines are those of the runs at full length, if there are any; `path` as in
    `stored_runs`.
    """
    fitted, differences = effects(runs), pairs(runs, idea)
    first = runs.iloc[0]
    length = f"{first['epochs']} epochs of {first['training_images']:,} images"
    networks = len(runs[list(SWITCHES)].drop_duplicates())
    lines = [f"{networks} networks, {length} each; {idea}:"]
    if len(differences):
        ahead = int((differences > 0).sum())
        lines.append(
            f"  {len(differences)} pairs differ in nothing else; ahead is the network "
            f"with it in {ahead}"
        )
    lines.append(_said("on average over all networks", fitted.of(idea)))
    if partner := strongest_partner(fitted, idea):
        (off, half), (on, _) = (fitted.where(idea, **{partner: s}) for s in (0, 1))
        lines.append(
            f"    without {partner} {off:+.2f}, with it {on:+.2f} (each ± {half:.2f})"
        )
    around = fitted.where_all_on[fitted.names.index(idea)]
    lines.append(_said("where all other ideas are on", around))
    networks, against = confirmed(path)
    if (longer := _bought(against, idea, same_parameters=False)) is not None:
        epochs, count = networks.loc["whole", ["epochs", "runs"]].astype(int)
        lines.append(_said(f"the same after {epochs} epochs, {count} seeds", longer))
    if (equal := _bought(against, idea, same_parameters=True)) is not None:
        lines.append(_said("and against as many parameters without it", equal))
    return "\n".join(lines)


def _said(where: str, effect: Effect) -> str:
    number = f"{effect.points:+.2f} ± {effect.half_width:.2f}"
    return f"  {where}: {number} points ({effect.verdict})"


def strongest_partner(fitted: Fit, idea: str) -> str | None:
    """The idea on which it depends most what this one buys; None: on none, as shown."""
    told = (
        effect.factors
        for effect in fitted.with_factors(2)  # the largest first
        if idea in effect.factors and effect.verdict != "not to be told apart"
    )
    return next((other for pair in told for other in pair if other != idea), None)
