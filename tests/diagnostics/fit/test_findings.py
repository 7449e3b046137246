"""Diagnostics of a fit: quiet at their stated rate on a right model, outspoken on a wrong one."""

import json
import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import ndtr

from diffeo.diagnostics.fit import (
    coverage,
    held_out,
    latent_normality,
    learning_curve,
    marginals,
    overfitting_gap,
    pit,
    sbc,
    seed_sensitivity,
    tarp,
)
from diffeo.diagnostics.fit.latent import energy_from_normal
from diffeo.diagnostics.significance import holm
from diffeo.errors import ConfigError, DataError, ShapeError

TIMES, RATE = 40, 0.05


def log_normal(x):
    return -0.5 * (x**2).sum(-1) - 0.5 * x.shape[-1] * math.log(2 * math.pi)


def alarms(p_of, times=TIMES):
    """How often p is below RATE, over replications."""
    return sum(p_of(np.random.default_rng([7, k])) < RATE for k in range(times))


def assert_nominal(count, times=TIMES):
    """Whether so many alarms are a draw of the stated rate, or of a lower one (99.9 %)."""
    most = times * RATE + 3.1 * math.sqrt(times * RATE * (1 - RATE))
    assert count <= most, f"{count} alarms in {times}, expected at most {most:.0f}"


def p_coverage(draws):
    return coverage(log_normal(draws.normal(size=(150, 3))), log_normal(draws.normal(size=(300, 3)))).p


def p_coverage_of_outcomes(draws):
    chances = np.array([0.5, 0.3, 0.2])
    rows, drawn = (np.log(chances)[draws.choice(3, p=chances, size=n)] for n in (150, 300))
    return coverage(rows, drawn).p


def p_latent(draws):
    return latent_normality(draws.normal(size=(40, 3)), seed=1).p


def p_latent_of_few_rows(draws):
    return latent_normality(draws.normal(size=(8, 12)), seed=1).p


def p_pit(draws):
    return float(pit(draws.random((100, 6))).p.min())


def posterior(draws, wrong=1.0):
    c = draws.normal(size=(150, 2))
    return c + draws.normal(size=(150, 2)), c[:, None] + wrong * draws.normal(size=(150, 30, 2))


def p_sbc(draws):
    return float(sbc(*posterior(draws)).p.min())


def p_tarp(draws):
    return tarp(*posterior(draws)).p


def table(draws, rows, shift=0.0):
    number = draws.normal(size=rows)
    number[draws.random(rows) < 0.1] = np.nan
    return {
        "number": number,
        "count": draws.poisson(2, size=rows),
        "label": draws.choice(["a", "b", "c"], size=rows),
        "other": np.nan_to_num(number) * shift + draws.normal(size=rows),
    }


def p_marginals(draws):
    return min(one.p for one in marginals(table(draws, 200), table(draws, 300)).columns)


def p_pairs(draws):
    return min(one.p for one in marginals(table(draws, 200), table(draws, 300)).pairs)


@pytest.mark.parametrize(
    "p_of",
    [
        p_coverage,
        p_coverage_of_outcomes,
        p_latent,
        p_latent_of_few_rows,
        p_pit,
        p_sbc,
        p_tarp,
        p_marginals,
        p_pairs,
    ],
)
def test_a_right_model_is_called_wrong_no_more_often_than_stated(p_of):
    assert_nominal(alarms(p_of))


def test_coverage_tells_a_model_that_is_too_sure_from_one_that_is_too_broad():
    draws = np.random.default_rng(0)
    rows, drawn = draws.normal(size=(2000, 2)), draws.normal(size=(2000, 2))
    sure, broad = (
        coverage(log_normal(1.3 * rows), log_normal(drawn)),
        coverage(log_normal(0.7 * rows), log_normal(drawn)),
    )
    assert sure.share(0.9) < 0.85
    assert "too sure" in str(sure)
    assert broad.share(0.5) > 0.6
    assert "broader" in str(broad)


@pytest.mark.parametrize("wrong", ["scale", "correlation", "one column", "joint"])
def test_the_latent_of_a_wrong_model_is_found_out(wrong):
    z = np.random.default_rng(0).normal(size=(600, 4))
    if wrong == "scale":
        z *= 1.2
    elif wrong == "correlation":
        z[:, 1] = 0.9 * z[:, 1] + math.sqrt(1 - 0.81) * z[:, 0]
    elif wrong == "one column":
        z[:, 2] = np.sign(z[:, 2]) * np.abs(z[:, 2]) ** 1.6 / 1.3
    else:  # columns normal and uncorrelated, and their sizes tied to one another
        z = np.abs(z[:, :1]) * np.sign(z)
    found = latent_normality(z)
    assert found.p < 0.01
    assert "not standard normal" in str(found)


def test_the_energy_is_that_of_its_definition():
    draws = np.random.default_rng(0)
    z, normal, other = (draws.normal(1.0, 1.0, size=(60, 3)), *draws.normal(size=(2, 4000, 3)))
    apart = np.linalg.norm(z[:, None] - normal, axis=-1).mean()
    among = np.linalg.norm(normal[:2000, None] - other[:2000], axis=-1).mean()
    own = np.linalg.norm(z[:, None] - z, axis=-1).mean()
    assert energy_from_normal(z) == pytest.approx(60 * (2 * apart - among - own), rel=0.05)
    far = np.full((1, 3), 1e5)
    assert energy_from_normal(far) == pytest.approx(2 * math.sqrt(3) * 1e5, rel=1e-4)


@pytest.mark.parametrize(
    ("moved", "shape"),
    [("z+0.4", "too low"), ("z-0.4", "too high"), ("1.5*z", "too narrow"), ("z/1.5", "too broad")],
)
def test_pit_says_how_a_column_is_wrong(moved, shape):
    z = np.random.default_rng(0).normal(size=(800, 2))
    z[:, 1] = {
        "z+0.4": z[:, 1] + 0.4,
        "z-0.4": z[:, 1] - 0.4,
        "1.5*z": 1.5 * z[:, 1],
        "z/1.5": z[:, 1] / 1.5,
    }[moved]
    found = pit(ndtr(z), ["fine", "bad"])
    assert found.shapes == ("right", shape)
    assert "'bad'" in str(found)


def test_wrong_posteriors_are_found_out():
    truth, drawn = posterior(np.random.default_rng(0), wrong=0.5)
    assert sbc(truth, drawn).p.max() < 0.01
    assert sbc(truth, drawn).shapes == ("too narrow", "too narrow")
    assert tarp(truth, drawn).p < 0.01


def test_tarp_sees_what_columns_alone_do_not():
    draws = np.random.default_rng(0)
    a, b = draws.normal(size=(500, 1)), draws.normal(size=(500, 100, 1))
    truth, drawn = np.concatenate([a, -a], 1), np.concatenate([b, b], 2)
    assert sbc(truth, drawn).p.min() > 0.01
    assert tarp(truth, drawn).p < 0.01


def test_marginals_name_the_column_the_label_and_the_pair():
    draws = np.random.default_rng(0)
    rows, drawn = table(draws, 2000, shift=2.0), table(draws, 2000)
    drawn["label"] = draws.choice(["a", "b", "c"], p=[0.6, 0.2, 0.2], size=2000)
    drawn["number"][:600] = np.nan
    found = marginals(rows, drawn)
    said = {one.name: one.said for one in found.columns if one.p < 0.01}
    assert set(said) == {"number", "label", "other"}
    assert "missing in" in said["number"]
    assert said["label"].startswith("'a' is")
    assert any({pair.first, pair.second} == {"number", "other"} and pair.p < 0.01 for pair in found.pairs)


def test_held_out_nats_are_compared_in_pairs():
    draws = np.random.default_rng(0)
    log_p = 10 * draws.normal(size=400)
    found = held_out(
        np.append(log_p, -np.inf), {"worse": np.append(log_p - 0.1, 0.0), "equal": np.append(log_p, 0)}
    )
    assert found.impossible == 1
    assert found.beside[0].ahead == pytest.approx(0.1)
    assert found.beside[0].ahead_error < 1e-6
    assert "cannot be told" in str(found)


def test_over_fitting_is_a_gap_that_chance_does_not_explain():
    draws = np.random.default_rng(0)
    assert overfitting_gap(draws.normal(0.3, 1, 2000), draws.normal(size=2000)).p < 0.001
    assert_nominal(alarms(lambda d: overfitting_gap(d.normal(size=200), d.normal(size=100)).p))


def test_learning_curves_and_seeds_say_whether_more_helps():
    draws = np.random.default_rng(0)
    x, held = draws.normal(size=(2000, 20)), draws.normal(size=(500, 20))

    def fitted(index):
        s = np.atleast_2d(np.cov(x[index].T)) + 1e-3 * np.eye(20)
        return -0.5 * np.einsum("ni,ij,nj->n", held, np.linalg.inv(s), held) - 0.5 * np.linalg.slogdet(s)[1]

    curve = learning_curve(fitted, 2000, [30, 200])
    assert curve.gain > 1
    assert "more rows would" in str(curve)
    base = draws.normal(size=500)
    assert "less than" in str(seed_sensitivity(lambda seed: base + 0.001 * seed, [0, 1]))
    assert "depends on its seed" in str(seed_sensitivity(lambda seed: base + seed, [0, 1]))
    with pytest.raises(ConfigError, match="ascend"):
        learning_curve(fitted, 10, [5, 20])


def findings():
    draws = np.random.default_rng(0)
    log_p = draws.normal(size=(2, 100))
    return [
        held_out(log_p[0], {"<b>": log_p[1]}),
        overfitting_gap(*log_p),
        coverage(*log_p),
        latent_normality(draws.normal(size=(50, 2)), ["a", "<script>"]),
        pit(draws.random((50, 2))),
        tarp(*posterior(draws)),
        marginals(table(draws, 100), table(draws, 100)),
        learning_curve(lambda index: log_p[len(index) - 1], 2, [1, 2]),
        seed_sensitivity(lambda seed: log_p[seed], [0, 1]),
    ]


@pytest.mark.parametrize("finding", findings(), ids=lambda one: type(one).__name__)
def test_each_finding_speaks_goes_into_json_and_draws_itself(finding):
    assert str(finding) == finding.in_words()
    assert str(finding).endswith(".")
    told = json.loads(json.dumps(finding.to_json(), allow_nan=False))
    assert told["words"] == str(finding)
    assert "<script>" not in finding._repr_html_()
    assert finding.plot().has_data()
    ax = Figure().subplots()
    assert finding.plot(ax) is ax


def test_wrong_arguments_are_named():
    with pytest.raises(ShapeError, match="log_p"):
        coverage([[0.0]], [0.0])
    with pytest.raises(DataError, match="drawn_log_p"):
        coverage([0.0], [math.nan])
    with pytest.raises(DataError, match="NaN"):
        latent_normality([[math.nan]])
    with pytest.raises(ConfigError, match="columns has 1 names"):
        latent_normality([[0.0, 1.0], [1.0, 2.0]], ["a"])
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        pit([[2.0]])
    with pytest.raises(ShapeError, match="drawn has shape"):
        tarp([[0.0]], [[[0.0, 1.0]]])
    with pytest.raises(ConfigError, match="the same"):
        marginals({"a": [1.0]}, {"b": [1.0]})
    assert holm(np.zeros(0)).shape == (0,)
