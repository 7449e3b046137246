"""Two hundred hostile tables: each is learnt, or refused by a message that names what is wrong."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import polars.testing as pl_testing
import pytest

from diffeo import FlowDensity
from diffeo.errors import DiffeoError
from diffeo.estimator import training as continuous_training
from diffeo.tables.mixed import fitting as mixed_training

#: Hostile columns: a function of the number of rows and a generator.
COLUMNS = {
    "normal": lambda n, r: r.normal(size=n),
    "constant": lambda n, r: np.full(n, 3.5),
    "constant zero": lambda n, r: np.zeros(n, np.int64),
    "all missing": lambda n, r: np.full(n, np.nan),
    "all None": lambda n, r: [None] * n,
    "one value": lambda n, r: [1.0] + [np.nan] * (n - 1),
    "half missing": lambda n, r: np.where(r.random(n) < 0.5, np.nan, r.normal(size=n)),
    "huge": lambda n, r: r.choice([1e308, -1e308, 1.7e308], n),
    "huge and small": lambda n, r: 10.0 ** r.uniform(-300, 300, n),
    "tiny": lambda n, r: r.normal(size=n) * 1e-300,
    "subnormal": lambda n, r: r.choice([5e-324, 0.0, -5e-324], n),
    "far from zero": lambda n, r: 1e15 + r.normal(size=n),
    "infinite": lambda n, r: np.where(np.arange(n) == 0, np.inf, r.normal(size=n)),
    "beyond 2^53": lambda n, r: 2**60 + r.integers(0, 9, n),
    "largest integers": lambda n, r: r.choice([2**63 - 1, -(2**63)], n),
    "unsigned": lambda n, r: r.integers(0, 2**63, n).astype(np.uint64) * 2 + 1,
    "small integers": lambda n, r: r.integers(0, 3, n).astype(np.int8),
    "truths": lambda n, r: r.random(n) < 0.5,
    "truths and holes": lambda n, r: [[True, False, None][k] for k in r.integers(0, 3, n)],
    "category of each row": lambda n, r: [f"name {k}" for k in range(n)],
    "empty text": lambda n, r: [""] * n,
    "unicode": lambda n, r: r.choice(["λ", "naïve", "𝔘", "\u200b", "<script>"], n),
    "long text": lambda n, r: ["word " * (k + 3) for k in range(n)],
    "mixed objects": lambda n, r: [[1, "one", 1.5, None, True][k % 5] for k in range(n)],
    "lists": lambda n, r: [[k] for k in range(n)],
    "complex": lambda n, r: r.normal(size=n) + 1j,
    "dates": lambda n, r: pd.Timestamp("2020-01-01") + pd.to_timedelta(r.integers(0, 900, n), "D"),
    "same date": lambda n, r: [pd.Timestamp("1677-09-22")] * n,
    "dates and holes": lambda n, r: [pd.NaT if k % 3 else pd.Timestamp("2262-04-11") for k in range(n)],
    "durations": lambda n, r: pd.to_timedelta(r.exponential(size=n), "s"),
    "category dtype": lambda n, r: pd.Categorical(r.choice(["a", "b"], n), ["a", "b", "never"]),
    "ordered": lambda n, r: pd.Categorical(r.choice([1, 2], n), [3, 2, 1], ordered=True),
    "zero-inflated": lambda n, r: np.where(r.random(n) < 0.6, 0.0, r.exponential(size=n)),
    "rounded": lambda n, r: np.round(r.normal(size=n), 1),
    "two values": lambda n, r: r.choice([-1.0, 1.0], n),
    "nullable": lambda n, r: pd.array([None if k % 4 == 0 else k for k in range(n)], "Int64"),
    "heavy tails": lambda n, r: r.standard_cauchy(n) ** 3,
}

NAMES = ["x", "Größe", "", " ", "a b", "<script>alert(1)</script>", "0", "nan", "λ" * 40, "x\n", "none"]


def hostile(seed):
    r = np.random.default_rng(seed)
    n = int(r.choice([1, 2, 3, 12, 40]))
    chosen = r.choice(list(COLUMNS), size=int(r.integers(1, 5)))
    # Every column is met, whatever is drawn.
    chosen[0] = list(COLUMNS)[seed % len(COLUMNS)]
    names = list(r.permutation(NAMES)[: len(chosen)])
    if seed % 17 == 0 and len(names) > 1:
        names[1] = names[0]
    columns = [pd.Series(COLUMNS[name](n, r)) for name in chosen]
    if seed % 11 == 0:  # collinear, and duplicated
        columns += [columns[0], columns[0]]
        names += ["again", "and again"]
    frame = pd.concat(columns, axis=1)
    frame.columns = names
    if seed % 13 == 0:
        frame = pd.concat([frame] * 3, ignore_index=True)
    return frame


def as_polars(frame):
    """Return the same in polars, or None: it has no two columns of a name, nor columns of everything."""
    try:
        return pl.from_pandas(frame)
    except Exception:  # pyarrow and polars refuse by errors of all kinds
        return None


def noted(fit, trained):
    def noting(*arguments, **settings):
        result = fit(*arguments, **settings)
        trained.append(result.steps)
        return result

    return noting


@pytest.mark.parametrize("seed", range(200))
def test_a_hostile_table_is_learnt_or_refused(seed, monkeypatch):
    pandas = hostile(seed)
    frame = as_polars(pandas) if seed % 4 == 3 else None
    frame = pandas if frame is None else frame
    before = frame.copy(deep=True) if frame is pandas else frame.clone()
    trained = []
    for module in (continuous_training, mixed_training):
        monkeypatch.setattr(module, "fit", noted(module.fit, trained))
    architecture = "auto" if seed % 20 == 0 else "gaussian"
    model = FlowDensity(architecture=architecture, max_steps=2, random_state=0, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        refusal = None
        try:
            model.fit(frame)
        except (DiffeoError, ValueError, TypeError) as error:
            refusal = error
        if refusal is not None:
            assert not trained, f"refused after something was trained: {refusal}"
            assert len(str(refusal)) > 20
            assert (
                not isinstance(refusal, DiffeoError) or "expected" in str(refusal) or "must" in str(refusal)
            )
            return
        log_p = model.score_samples(frame)
        drawn = model.sample(3, random_state=0)
        drawn_log_p = model.score_samples(drawn)
    if frame is pandas:
        pd.testing.assert_frame_equal(frame, before)
    else:
        pl_testing.assert_frame_equal(frame, before)
    assert type(drawn) is type(frame)
    assert log_p.shape == (len(frame),)
    for found in (log_p, drawn_log_p):
        assert not np.isnan(found).any()
        assert not np.isposinf(found).any()
    assert len(drawn) == 3
    assert set(drawn.columns) <= set(frame.columns)


def test_ten_thousand_categories():
    r = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"city": [f"c{k}" for k in r.integers(0, 10_000, 30_000)], "x": r.normal(size=30_000)}
    )
    model = FlowDensity(architecture="gaussian", max_steps=5, random_state=0).fit(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_p = model.score_samples(frame[:500])
    assert np.isfinite(log_p).all()
    assert log_p.mean() == pytest.approx(-np.log(10_000) - 1.419, abs=0.5)
