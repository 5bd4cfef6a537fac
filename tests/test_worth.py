"""What is said of an idea is what its runs say."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from cifar_helpers import worth
from cifar_helpers.ablation import SWITCHES

BOUGHT = dict(zip(SWITCHES, (1.0, -2.0, 0.0, 3.0, 0.5, 4.0), strict=True))


def made_up(design="factorial", seeds=(0,), noise=0.05) -> pd.DataFrame:
    """All 64 networks, whose ideas buy what `BOUGHT` says."""
    chance = np.random.default_rng(0)
    rows = []
    for seed, on in product(seeds, product((0, 1), repeat=len(SWITCHES))):
        state = dict(zip(SWITCHES, on, strict=True))
        reached = 70 + sum(BOUGHT[name] * here for name, here in state.items())
        reached += noise * chance.standard_normal()
        known = {"design": design, "seed": seed, "epochs": 4, "training_images": 40_000}
        rows.append(known | state | {worth.ACCURACY: reached})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("idea", SWITCHES)
def test_pairs_differ_in_one_idea_and_by_what_it_buys(idea):
    differences = worth.pairs(made_up(noise=0), idea)
    assert len(differences) == 32
    np.testing.assert_allclose(differences, BOUGHT[idea], atol=1e-9)
    assert differences.index.names == [name for name in SWITCHES if name != idea]


def test_pairs_average_seeds_and_leave_out_half_pairs():
    runs = made_up(seeds=(0, 1), noise=0)
    runs.loc[runs["seed"] == 1, worth.ACCURACY] += 8  # a shift of all runs of a seed
    differences = worth.pairs(runs, "aspp")
    np.testing.assert_allclose(differences, BOUGHT["aspp"], atol=1e-9)
    alone = runs["attention"] == 1
    assert worth.pairs(runs[alone], "attention").empty
    assert len(worth.pairs(runs[alone], "aspp")) == 16
    with pytest.raises(KeyError):
        worth.pairs(runs, "pooling")


@pytest.mark.parametrize("idea", SWITCHES)
def test_effects_are_the_mean_of_the_pairs(idea):
    runs = made_up(noise=1.0)
    effect = worth.effects(runs).of(idea)
    assert effect.points == pytest.approx(worth.pairs(runs, idea).mean())


def at_full_length(*rows: tuple[str, float]) -> pd.DataFrame:
    """Runs of named networks and what they reached."""
    table = pd.DataFrame(rows, columns=["variant", worth.ACCURACY])
    known = {"seed": 0, "epochs": 9, "parameters": 5, "multiply_adds": 7}
    return table.assign(design="confirmation", **known)


def test_summary_says_what_the_runs_say(tmp_path):
    path = tmp_path / "ablation.csv"
    single = at_full_length(("whole", 88.0), ("no separable", 91.0))
    pd.concat([made_up(), single]).to_csv(path, index=False)
    said = worth.summary(made_up(), "separable", path)
    first, pairs, average, *_, around = said.splitlines()
    assert first == "64 networks, 4 epochs of 40,000 images each; separable:"
    assert "32 pairs" in pairs and pairs.endswith("with it in 0")
    assert average.startswith("  on average over all networks: -2.0")
    assert around.startswith("  where all other ideas are on: -")
    assert average.endswith("(worse)") and around.endswith("(worse)")
    assert "not to be told apart" in worth.summary(made_up(), "attention", path)
    twice = worth.summary(made_up(seeds=(0, 1))[64:], "separable", path)
    assert twice.startswith("64 networks, 4 epochs")
    rows = [("whole", 88.0), ("whole", 88.2), ("no separable", 91.0)]
    rows += [("no separable, same parameters", reached) for reached in (87.0, 87.2)]
    rows = at_full_length(*rows, ("no separable", 91.2), ("no aspp", 70.0))
    pd.concat([made_up(), rows]).to_csv(path, index=False)
    longer = worth.summary(made_up(), "separable", path).splitlines()
    assert longer[:-2] == said.splitlines()
    assert longer[-2].startswith("  the same after 9 epochs, 2 seeds: -3.00 ± ")
    assert longer[-2].endswith("(worse)")
    assert longer[-1].startswith(
        "  and against as many parameters without it: +1.00 ± "
    )
    assert worth.bought_at_full_length("aspp", path=path) is None


def test_summary_names_the_idea_on_which_most_depends():
    """ASPP is made to buy three points more where attention is off."""
    runs = made_up()
    runs.loc[(runs["aspp"] == 1) & (runs["attention"] == 0), worth.ACCURACY] += 3
    runs.loc[(runs["aspp"] == 1) & (runs["residual"] == 0), worth.ACCURACY] += 1
    fitted = worth.effects(runs)
    assert worth.strongest_partner(fitted, "aspp") == "attention"
    assert worth.strongest_partner(fitted, "residual") == "aspp"
    assert worth.strongest_partner(fitted, "dilation") is None
    reached = runs.groupby(["attention", "aspp"])[worth.ACCURACY].mean()
    (off, on) = (reached[here, 1] - reached[here, 0] for here in (0, 1))
    line = worth.summary(runs, "aspp").splitlines()[3]
    words = f"    without attention {off:+.2f}, with it {on:+.2f} (each ± 0."
    assert line.startswith(words)


def test_longer_runs_are_taken_once_there_are_enough(tmp_path):
    longer, shorter = made_up(), made_up("small-factorial")
    path = tmp_path / "ablation.csv"

    def taken(*tables):
        pd.concat(tables).to_csv(path, index=False)
        runs = worth.stored_runs(path=path)
        return set(runs["design"]), len(runs)

    assert taken(longer[:32], shorter) == ({"factorial"}, 32)
    assert taken(longer[:31], shorter) == ({"small-factorial"}, 64)
    assert taken(longer[:31]) == ({"factorial"}, 31)
    assert taken(longer[:40], shorter[:9]) == ({"factorial"}, 40)
    assert len(worth.stored_runs("small-factorial", path)) == 9
    with pytest.raises(ValueError, match="no run of noise in the table"):
        worth.stored_runs("noise", path)
    with pytest.raises(ValueError, match="no run of factorial or small-factorial"):
        taken(made_up("confirmation"))


def test_stored_runs_are_balanced():
    """The runs in the package suffice for every idea."""
    runs = worth.stored_runs()
    assert len(runs) >= worth.ENOUGH
    for idea in SWITCHES:
        assert worth.effects(runs).of(idea).half_width < 3
        assert {*runs.groupby(idea).size()} == {len(runs) // 2}


def test_confirmed_networks_are_held_against_the_whole(tmp_path):
    path = tmp_path / "ablation.csv"
    rows = [("whole", 88.0), ("whole", 88.4), ("no aspp", 87.0), ("no aspp", 87.2)]
    table = at_full_length(*rows, ("dropout", 80.0))
    pd.concat([made_up(), table]).to_csv(path, index=False)
    networks, (effect,) = worth.confirmed(path)
    assert networks.index.tolist() == ["whole", "no aspp"]
    assert networks["runs"].tolist() == [2, 2]
    assert networks["mean"].tolist() == pytest.approx([88.2, 87.1])
    assert effect.name == "no aspp" and effect.points == pytest.approx(-1.1)
    table[1:].to_csv(path, index=False)
    networks, effects = worth.confirmed(path)
    assert networks.empty and effects == []
