"""A comparison says what is so: of known densities, of collapsed generators, of copies, of limits."""

import json
import math
import re
import time

import numpy as np
import pytest

import diffeo
from diffeo.comparison import SingleFlow
from diffeo.errors import ConfigError
from diffeo.toys import TOYS

from .fakes import Bounded, Broken, Copies, Modes, Standard, Wild


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def eight(told):
    """Models of the 8 Gaussians, two seeds each."""
    models = ["mixture", Modes(), Standard(), Bounded(), Copies(), Broken(), Wild()]
    return diffeo.compare("8gaussians", models, rows=1000, seeds=2, time_budget=3.0, progress=told.append)


def only(result, name):
    return result.of(name)[0]


def test_every_model_and_seed_has_a_row(eight, told):
    assert [(e.model, e.seed) for e in eight.entries][:3] == [
        ("Gaussian mixture", 0), ("Gaussian mixture", 1), ("collapsed", 0),
    ]  # fmt: skip
    assert len(eight.entries) == 14
    assert {step.total for step in told} == {14}
    assert [step.done for step in told] == sorted(step.done for step in told)


def test_nats_are_those_of_the_known_density(eight):
    """The truth reaches minus its entropy, and the mixture that is right comes near it."""
    reference = eight.reference
    assert reference.model == "the truth"
    assert abs(reference.nats + TOYS["8gaussians"].entropy) < 4 * reference.error
    mixture = only(eight, "Gaussian mixture")
    short = reference.scores - mixture.scores
    assert -3 * short.std() / len(short) ** 0.5 < short.mean() < 0.05
    x = eight.rows.held
    standard = -0.5 * (x**2).sum(1) - math.log(2 * math.pi)
    assert only(eight, "standard").nats == pytest.approx(standard.mean())
    assert only(eight, "standard").error == pytest.approx(standard.std(ddof=1) / len(x) ** 0.5)


def test_a_flow_comes_near_the_known_density():
    result = diffeo.compare("moons", {"flow": _short_flow}, rows=1500)
    short = result.reference.nats - only(result, "flow").nats
    assert 0 < short < 0.4
    assert "nats a row short of the exact density" in result.in_words()


def _short_flow(seed):
    return SingleFlow(seed, max_steps=150)


def test_a_collapsed_generator_shows_in_recall_and_coverage(eight):
    regions = only(eight, "collapsed").beside.regions
    own = eight.reference.beside.regions
    assert regions.precision > 0.9
    assert regions.recall < 0.35
    assert regions.coverage < 0.35
    assert own.coverage > 0.9
    words = eight.in_words()
    assert "Data beyond the region of the samples: recall is below that of the truth" in words
    assert "Parts of the data without samples: coverage is below that of the truth" in words
    assert f"collapsed ({np.mean([e.beside.regions.coverage for e in eight.of('collapsed')]):.2f})" in words
    assert "collapsed has no density to compare" in words


def test_copies_are_called_so(eight):
    assert only(eight, "copies").beside.memorisation.share == 1.0
    assert "Samples favour rows trained on as their nearest: copies (100% where chance is 70%)" in (
        eight.in_words()
    )


def test_budgets_are_the_same_for_all_that_train():
    first, second = Standard(), Modes()
    given = []

    def made(seed):
        given.append(Standard())
        return given[-1]

    result = diffeo.compare("moons", [made, "gaussian"], rows=200, time_budget=3.5, seeds=2)
    assert [model.budgets for model in given] == [[3.5], [3.5]]
    assert first.budgets == second.budgets == []  # none but what takes part is touched
    gaussian = only(result, "Gaussian")
    assert gaussian.budget is None
    assert "0.0 *" in str(result)
    assert "* takes what it needs; the others trained for 3.5 s." in str(result)


def test_a_models_own_object_is_left_as_it_was():
    own = Standard()
    result = diffeo.compare("moons", [own, own], rows=200)
    assert not own.budgets
    assert result.names == ["standard", "standard (2)"]


def test_a_flow_keeps_its_budget_and_who_does_not_is_named():
    class Slow(Standard):
        name = "slow"

        def fit(self, x, *, time_budget=None, report=None):
            time.sleep(1.5 * time_budget)
            return super().fit(x, time_budget=time_budget, report=report)

    result = diffeo.compare("moons", ["flow", Slow()], rows=400, time_budget=1.0)
    # Room for a loaded machine; without a budget it would take fifty times as long.
    assert 0.5 < only(result, "flow").fit_seconds < 8
    assert "slow (seed 0) trained for 1.5 s, longer than its budget." in str(result)


def test_flow_vae_and_gan_say_what_they_know_of_the_density(tmp_path):
    models = [_short_flow, "vae", "gan", "copula"]
    result = diffeo.compare("moons", models, rows=100, time_budget=0.3)
    assert [e.failed for e in result.entries] == [""] * 4
    assert [e.density for e in result.entries] == ["exact", "lower bound", "implicit", "exact"]
    assert [math.isnan(e.nats) for e in result.entries] == [False, False, True, False]
    assert "GAN: a GAN has no density" in str(result)
    result.figure(tmp_path / "a.png", ["_short_flow", "VAE", "GAN"])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_bound_is_marked_and_not_taken_for_the_density(eight):
    assert "≥ " in str(eight)
    words = eight.in_words()
    assert "bounded gives a lower bound" in words
    assert "its density itself may be higher" in words


def test_failures_are_told_and_cost_the_others_nothing(eight):
    assert [e.failed for e in eight.entries if e.model == "broken"] == ["TrainingError: it went to NaN"] * 2
    assert "broken (seed 0) failed: TrainingError: it went to NaN" in str(eight)
    assert "Failed: broken (seed 0), broken (seed 1)." in eight.in_words()
    assert "broken" not in eight.models


def test_rows_of_density_0_and_draws_that_are_not_finite_are_told(eight):
    wild = only(eight, "wild")
    assert wild.nats == -math.inf
    assert wild.bad_draws == pytest.approx(1 / 300)
    assert wild.beside is not None
    assert "rows of density 0)" in str(eight)
    assert "wild (seed 0): 0.3% of its draws were not finite; they were left out." in str(eight)
    assert "wild gave density 0 to some held-out rows" in eight.in_words()


def test_within_two_errors_nothing_is_called_a_difference():
    near = Standard()
    near.name, near.offset = "near", 0.0
    x = np.random.default_rng(0).normal(size=(300, 2))
    words = diffeo.compare(x, [Standard(), near]).in_words()
    assert "not distinguishable from near (within two standard errors)" in words
    assert "behind it" not in words


def test_json_has_everything_and_nothing_that_json_lacks(eight):
    facts = json.loads(eight.to_json())
    assert facts["rows"] == {"train": 700, "held_out": 300}
    by_name = {entry["model"]: entry for entry in facts["entries"]}
    assert by_name["collapsed"]["held_out_nats"] is None
    assert by_name["collapsed"]["no_density"] == "it only draws"
    assert by_name["collapsed"]["density"] == "implicit"
    assert by_name["wild"]["held_out_nats"] is None
    assert by_name["copies"]["memorisation"]["nearest_is_training_row"] == 1.0
    assert by_name["standard"]["regions"]["coverage"]["value"] < 0.9
    assert by_name["broken"]["failed"].startswith("TrainingError")
    assert facts["in_words"] == eight.in_words()


def test_the_table_has_a_line_for_each_entry_and_the_spread_over_seeds(eight):
    text = str(eight)
    assert text.startswith("8gaussians: 700 rows to train on, 300 held out, 2 columns; 3 s to train")
    assert max(map(len, text.splitlines())) <= 132
    for name in (*eight.names, "the truth"):
        assert sum(line.startswith(f"{name} ") for line in text.splitlines()) >= 2
    assert "over seeds (from … to)" in text


@pytest.mark.parametrize("names", [None, ["Gaussian mixture", "collapsed", "bounded", "copies"]])
def test_the_picture_is_drawn(eight, tmp_path, names):
    eight.figure(tmp_path / "picture.png", names)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seeds_give_the_same_figures():
    first, second = (
        diffeo.compare("moons", ["gaussian", _short_flow], rows=200, time_budget=60) for _ in range(2)
    )
    for one, other in zip(first.entries, second.entries, strict=True):
        assert one.nats == other.nats
        assert one.beside == other.beside


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"models": ["gan2"]}, "models='gan2' is not known"),
        ({"models": []}, "models is"),
        ({"models": [object()]}, "lacks"),
        ({"models": [Standard]}, "models has the class Standard"),
        ({"models": {"mine": 3}}, "'mine', a int that is no model"),
        ({"time_budget": 0}, "time_budget=0"),
        ({"seeds": 0}, "seeds=0"),
        ({"seeds": [1, 1]}, "names one twice"),
        ({"rows": 0}, "rows=0"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"progress": "yes"}, "progress='yes'"),
    ],
)
def test_bad_arguments_are_named(arguments, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        diffeo.compare("moons", **arguments)


def test_a_function_that_makes_no_model_fails_as_a_model_does():
    result = diffeo.compare("moons", {"mine": dict.fromkeys, "gaussian": "gaussian"}, rows=100)
    assert "TypeError" in result.entries[0].failed
    assert not result.entries[1].failed


def test_pictures_that_cannot_be_written_and_models_that_took_no_part_are_named(eight, tmp_path):
    with pytest.raises(ConfigError, match=r"ends in '\.txt'"):
        eight.figure(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match="models='GAN' is not known"):
        eight.figure(tmp_path / "a.png", ["GAN"])
    with pytest.raises(diffeo.errors.FileError, match="is not one"):
        eight.figure(tmp_path / "nowhere" / "a.png")
