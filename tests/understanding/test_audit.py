"""Audits of tables in which something is planted, or nothing; ``make audit-rates`` has the rates."""

import json

import numpy as np
import pandas as pd
import pytest

import diffeo
from benchmarks.audit_rates import PLANTED, hit, quiet_model, replicate, table


@pytest.fixture(scope="module")
def quiet():
    return quiet_model()


CHEAP = {"architecture": "gaussian", "max_steps": 20, "permutations": 199}


@pytest.fixture(scope="module")
def gap(quiet):
    return diffeo.audit(quiet, table(600, 5, "gap"), group="g", outcome="y", **CHEAP)


def test_an_audit_is_quiet_where_nothing_is_planted(quiet):
    found = [replicate(quiet, "nothing", seed, rows=300)["findings"] for seed in range(6)]
    assert sum(map(bool, found)) <= 2, found  # 3 of 6 has p < 0.003 at a rate of 5 %


@pytest.mark.parametrize("planted", [name for name in PLANTED if "nothing" not in name])
def test_what_is_planted_is_found(quiet, planted):
    findings = replicate(quiet, planted, seed=0, rows=900)["findings"]
    assert hit(planted, findings), findings


def test_a_gap_is_estimated_with_its_interval(gap):
    (one,) = gap.gaps
    # By simulation of the law: P(yes | x, f) − P(yes | x, m) averaged over x.
    draws = np.random.default_rng(0)
    a = draws.normal(size=200_000)
    b = 0.6 * a + 0.8 * draws.normal(size=200_000)
    sign = 1 if one.group == "f" else -1
    odds = b + 0.3 * a
    truth = sign * (1 / (1 + np.exp(-odds + 1.4)) - 1 / (1 + np.exp(-odds))).mean()
    assert one.low < truth < one.high
    assert one.high - one.low < 0.35
    assert one.outcome == "y = 'yes'"
    assert {t.group for t in gap.transports} == {"f", "m"}
    moved = next(t for t in gap.transports if t.group == "m")
    assert [c.column for c in moved.columns] == ["a", "b", "c", "y"]
    assert "latent" in moved.assumptions


def test_a_result_says_itself_in_words_and_json(gap):
    said = gap.in_words()
    assert "g f:" in said
    assert "y = 'yes'" in said
    told = json.loads(json.dumps(gap.to_json(), allow_nan=False))
    assert told["words"] == said
    assert "density" not in told
    assert len(told["tests"]) == len(gap.tests)
    assert [t.p for t in gap.tests] == sorted(t.p for t in gap.tests)


def test_weights_balance_what_was_planted(quiet):
    data = table(1_500, 6, "proxy")
    result = diffeo.audit(quiet, data, group="g", sets=[["a", "c"]], **CHEAP)
    assert [one.columns for one in result.joint] == [("a", "b", "c", "y"), ("a", "c")]
    assert result.joint[1].low < 0.075 < result.joint[1].high  # the information of a shift of 0.8
    weights = result.reweight("independence")
    assert weights.weights.shape == (1_500,)
    assert weights.weights.mean() == pytest.approx(1.0)
    assert weights.after["a"] < 0.3 * weights.before["a"]
    assert weights.effective < 1_500
    f = data["g"].to_numpy() == "f"
    before = data["a"][f].mean() - data["a"][~f].mean()
    after = np.average(data["a"][f], weights=weights.weights[f]) - np.average(
        data["a"][~f], weights=weights.weights[~f]
    )
    assert abs(after) < 0.35 * abs(before)
    shares = result.reweight("shares").weights
    assert shares[f].sum() == pytest.approx(shares[~f].sum())
    made = result.synthetic("f", 400, random_state=1)
    assert made.table["synthetic"].all()
    assert set(made.table["g"]) == {"f"}
    assert made.table["a"].mean() == pytest.approx(0.8, abs=0.25)
    assert result.additional()[min(("f", "m"), key=lambda g: (data["g"] == g).sum())] == abs(
        2 * f.sum() - 1_500
    )
    js = result.distances[0]
    # Normals 0.8 deviations apart: KL = 0.32 and JS = 0.075; learned from 750 rows.
    assert js.kl == pytest.approx(0.32, abs=0.15)
    assert 0.03 < js.js < 0.13


def test_small_groups_get_intervals_and_no_verdicts(quiet):
    data = table(200, 7)
    data.loc[:11, "g"] = "f"
    data = data[(data["g"] == "m") | (data.index < 12)].reset_index(drop=True)
    result = diffeo.audit(quiet, data, group="g", outcome="y", **CHEAP)
    assert result.too_small == ("m", "f")  # there is nobody else to compare m with either
    assert all(one.section == "representation" for one in result.tests)
    assert all(np.isfinite([one.low, one.high]).all() for one in result.gaps)
    assert "Too few rows" in result.in_words()


def test_a_model_may_not_know_the_group(quiet):
    data = table(400, 8, "proxy")
    model = diffeo.FlowDensity("gaussian", max_steps=10, random_state=0).fit(data[["a", "b"]])
    result = diffeo.audit(model, data, group="g", **CHEAP)
    assert hit("proxy", [[one.section, one.about] for one in result.findings])
    assert all(np.isnan(one.mass) for one in result.presence)
    # c is not the model's: nothing says what to expect of the columns that are.
    assert all(np.isnan(one.shortfall) and np.isfinite(one.nats) for one in result.fit)
    same = diffeo.audit(model, data[["g", "a", "b"]], group="g", outcome="b", **CHEAP)
    # p(a, b | g) knows the group: it gains what the group tells, some 0.08 nats.
    assert all(-0.5 < one.shortfall < 0.3 and np.isnan(one.p) for one in same.fit)


def test_the_order_of_rows_that_are_alike_says_nothing():
    draws = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "sex": np.repeat(["f", "m"], 200),
            "smoker": draws.choice(["yes", "no"], 400),
            "city": draws.choice(["A", "B"], 400),
        }
    )
    model = diffeo.FlowDensity(max_steps=2, random_state=0).fit(data)
    arguments = {"max_steps": 2, "permutations": 19}
    sorted_by_group = diffeo.audit(model, data, group="sex", **arguments)
    assert min(one.unsupported_p for one in sorted_by_group.presence) > 0.05


def test_a_model_may_have_the_group_and_not_the_outcome():
    draws = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "sex": draws.choice(["f", "m"], 160),
            "x": draws.normal(size=160),
            "y": draws.choice([True, False], 160),
        }
    )
    model = diffeo.FlowDensity("gaussian", max_steps=3, random_state=0).fit(data[["sex", "x"]])
    result = diffeo.audit(
        model, data, group="sex", outcome="y", architecture="gaussian", max_steps=3, permutations=19
    )
    assert sum(one.mass for one in result.presence) == pytest.approx(1.0)
    assert len(result.gaps) == 1


def test_labels_are_matched_as_they_are_written(quiet):
    data = table(200, 10)
    data["g"] = np.where(data["g"] == "f", "it's", 'a "b"')
    model = diffeo.FlowDensity("gaussian", max_steps=5, random_state=0).fit(data[["a", "b"]])
    result = diffeo.audit(
        model, data[["g", "a", "b"]], group="g", population={"it's": 1, 'a "b"': 1}, **CHEAP
    )
    assert {one.group for one in result.presence} == {"it's", 'a "b"'}
    data["g"] = np.where(data["g"] == "it's", 1.0, 2.0)
    result = diffeo.audit(model, data[["g", "a", "b"]], group="g", population={1: 0.5, 2.0: 0.5}, **CHEAP)
    assert {one.group for one in result.presence} == {"1", "2"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group": "sex"}, "sex"),
        ({"group": "g", "outcome": "g"}, "another column"),
        ({"group": "g", "population": {"f": 0.5}}, "lacks group 'm'"),
        ({"group": "g", "sets": [["a", "nothing"]]}, "nothing"),
        ({"group": "g", "level": 2.0}, "level"),
        ({"group": "a"}, "groups"),
    ],
)
def test_what_cannot_be_audited_is_refused(quiet, arguments, message):
    with pytest.raises(diffeo.errors.UserError, match=message):
        diffeo.audit(quiet, table(60, 9), **arguments)


def test_one_group_is_none(quiet):
    with pytest.raises(diffeo.errors.DataError, match="two"):
        diffeo.audit(quiet, pd.DataFrame(table(60, 9).query("g == 'f'")), group="g")
