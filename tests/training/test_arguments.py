"""Every argument that cannot be used is named before training starts, with what to do about it."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffeo.bijections import ActNorm, Standardize, Wrap
from diffeo.distributions import StandardNormal, VonMises
from diffeo.errors import ConfigError, DataError, DtypeError, ShapeError, UserError
from diffeo.flows import NCSF, RealNVP
from diffeo.training import TrainConfig, fit

GOOD = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
QUICK = TrainConfig(max_steps=1)


def with_value(row: int, value: float) -> torch.Tensor:
    x = GOOD.clone()
    x[row, 1] = value
    return x


class Frame:
    """What a data frame looks like from here."""

    def to_numpy(self) -> np.ndarray:
        return GOOD.numpy()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (GOOD.tolist(), DtypeError, r"x is a list; expected a numpy array or a torch.Tensor: pass numpy"),
        (Frame(), DtypeError, r"x is a Frame; .* pass x.to_numpy\(\)"),
        (None, DtypeError, "x is a NoneType"),
        (GOOD.double(), DtypeError, r"x has dtype torch.float64; expected torch.float32"),
        (GOOD.long(), DtypeError, r"x has dtype torch.int64.*Pass x.to\(torch.float32\)"),
        (GOOD.bool(), DtypeError, "x has dtype torch.bool"),
        (GOOD.to(torch.complex64), DtypeError, "x has dtype torch.complex64"),
        (GOOD.to_sparse(), DtypeError, r"pass x.to_dense\(\)"),
        (GOOD.numpy().astype(int), DtypeError, r"array of dtype int64.*x.astype\('float32'\)"),
        (GOOD.numpy().astype(object), DtypeError, "array of dtype object"),
        (GOOD.numpy().astype(str), DtypeError, "array of dtype <U"),
        (GOOD.numpy().astype("datetime64[s]"), DtypeError, "array of dtype datetime64"),
        (np.ma.masked_array(GOOD.numpy()), DtypeError, "x is a masked array"),
        (GOOD[:, 0], ShapeError, r"x has shape \(40,\); expected \(rows, 2\)"),
        (GOOD[:, :1], ShapeError, r"x has shape \(40, 1\); expected \(rows, 2\)"),
        (GOOD[None], ShapeError, r"x has shape \(1, 40, 2\)"),
        (GOOD[:0], DataError, r"x has 0 training row\(s\); expected at least 10"),
        (GOOD[:1], DataError, r"x has 1 training row\(s\)"),
        (with_value(17, torch.nan), DataError, r"x has 1 row\(s\) with NaN.*x\[17\] \(nan in column 1\)"),
        (with_value(17, -torch.inf), DataError, r"x\[17\] \(-inf in column 1\)"),
        (with_value(3, torch.inf).numpy(), DataError, r"x\[3\] \(inf in column 1\)"),
        (
            with_value(5, 0.0).double().numpy() * np.where(np.arange(40) == 5, 1e200, 1.0)[:, None] + 1e-9,
            DataError,
            r"x\[5\] has .*e\+.* in column 0, which does not fit in torch.float32 .*flow.double\(\)",
        ),
        (
            torch.ones(40, 2),
            DataError,
            r"x has 2 column\(s\) with one value only \(0, 1; column 0 is always 1",
        ),
        (
            torch.cat([GOOD[:, :1], torch.zeros(40, 1)], 1),
            DataError,
            r"1 column\(s\) .*column 1 is always 0",
        ),
    ],
)
def test_rows_that_cannot_be_used(small, x, error, message):
    with pytest.raises(error, match=message):
        fit(small(), x, validation=None, config=QUICK)


@pytest.mark.parametrize(
    ("validation", "error", "message"),
    [
        (0.0, ConfigError, r"validation=0\.0 must be a fraction between 0 and 1"),
        (1.0, ConfigError, r"validation=1\.0 must be a fraction"),
        (1, ConfigError, r"validation=1 must be a fraction"),
        (True, ConfigError, "validation=True must be a fraction"),
        ("10%", ConfigError, "validation='10%' must be a fraction"),
        (float("nan"), ConfigError, "validation=nan must be a fraction"),
        ((GOOD, GOOD, GOOD), ConfigError, "validation is a tuple of 3"),
        (GOOD[:, :1], ShapeError, r"validation has shape \(40, 1\)"),
        (GOOD[:0], DataError, "validation has no rows"),
        (with_value(2, torch.nan), DataError, r"validation has 1 row\(s\) with NaN.*validation\[2\]"),
        ((with_value(2, torch.nan), None), DataError, r"validation\[0\] has 1 row"),
        ((GOOD, GOOD), ShapeError, r"validation\[1\].* was given to a flow without context"),
        ([GOOD], DtypeError, "validation is a list"),
        (0.9, DataError, r"x has 4 training row\(s\)"),
    ],
)
def test_validation_that_cannot_be_used(small, validation, error, message):
    with pytest.raises(error, match=message):
        fit(small(), GOOD, validation=validation, config=QUICK)


@pytest.mark.parametrize(
    ("context", "validation", "error", "message"),
    [
        (None, 0.1, ShapeError, "context is missing"),
        (GOOD[:39], 0.1, ShapeError, "context has 39 rows, x has 40"),
        (GOOD[:, :1], 0.1, ShapeError, r"context has shape \(40, 1\); expected \(rows, 2\)"),
        (GOOD.double(), 0.1, DtypeError, "context has dtype torch.float64"),
        (with_value(1, torch.nan), 0.1, DataError, r"context\[1\] \(nan in column 1\)"),
        (GOOD, GOOD, ShapeError, r"pass validation=\(x_val, context_val\)"),
        (GOOD, (GOOD, GOOD[:3]), ShapeError, r"validation\[1\] has 3 rows, validation\[0\] has 40"),
    ],
)
def test_context_that_cannot_be_used(small, context, validation, error, message):
    with pytest.raises(error, match=message):
        fit(small(context=2), GOOD, context=context, validation=validation, config=QUICK)


def test_context_for_a_flow_without(small):
    with pytest.raises(ShapeError, match=r"context.* was given to a flow without context"):
        fit(small(), GOOD, context=GOOD)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("flow", torch.nn.Linear(2, 2)),
        ("config", {"max_steps": 1}),
        ("objective", "likelihood"),
        ("checkpoint", 7),
        ("callback", "print"),
        ("progress", "yes"),
    ],
)
def test_arguments_of_the_wrong_type(small, argument, value):
    given = {"flow": small(), argument: value}
    with pytest.raises(ConfigError, match=rf"{argument} is a {type(value).__name__}; expected"):
        fit(given.pop("flow"), GOOD, **given)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("max_epochs", [0, -1, 1.5, True, "3"], "whole number of at least 1, or None"),
        ("max_steps", [0, 2.0], "whole number of at least 1, or None"),
        ("batch_size", [0, 1, 2.5], "whole number of at least 2, or None"),
        ("learning_rate", [0, -1e-3, float("nan"), float("inf"), "a", True], "number above 0, or None"),
        ("weight_decay", [-1.0, None], "number of at least 0"),
        ("warmup", [-0.1, 1.0, None], "number of at least 0 and below 1"),
        ("clip_norm", [0, -1.0, float("inf")], "number above 0, or None"),
        ("patience", [0, 0.5], "whole number of at least 1, or None"),
        ("min_delta", [-1.0, None], "number of at least 0"),
        ("evaluate_every", [0], "whole number of at least 1, or None"),
        ("averaging", [1.0, -0.1, None], "number of at least 0 and below 1"),
        ("noise", [-0.1, float("nan")], "number of at least 0"),
        ("seed", [-1, 0.5, None], "whole number of at least 0"),
        ("device", [0, "gpu", "cuda:99", "meta", ""], "expected|string|torch"),
        ("time_budget", [0, -1, float("inf")], "number above 0, or None"),
        ("max_bad_steps", [-1, 0.5, None], "whole number of at least 0"),
        ("checkpoint_every", [0, None], "whole number of at least 1"),
    ],
)
def test_settings_that_cannot_be_used(name, values, expected):
    for value in values:
        with pytest.raises(ConfigError, match=expected) as raised:
            TrainConfig(**{name: value})
        assert f"{name}={value!r}" in str(raised.value)


def test_columns_far_from_unit_scale_are_said(small):
    for x in (GOOD * 1e3, GOOD / 1e3, GOOD + 500):
        with pytest.warns(UserWarning, match=r"column 0 of x has median .*flow.then\(Standardize\(2\)\)"):
            fit(small(), x, config=QUICK)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit(small().then(Standardize(2)), x, config=QUICK)
            fit(small().then(ActNorm(2)), x, config=QUICK)


ANGLES = 3.14 * (2 * torch.rand(40, 2, generator=torch.Generator().manual_seed(0)) - 1)


@pytest.mark.parametrize("base", [None, VonMises(2)])
def test_angles_off_the_circle_are_refused(base):
    def flow():
        return NCSF(2, transforms=1, bins=3, hidden=(8,), base=base)

    degrees = torch.rad2deg(ANGLES)
    degrees[0], degrees[1] = 0.0, torch.tensor([0.0, 210.0])
    told = r"outside the circle \[-3\.142, 3\.142\] .*Pass flow.then\(Wrap\(low, high\)\)"
    with pytest.raises(DataError, match=r"^x\[1\] has 210 in column 1, " + told):
        fit(flow(), degrees, config=QUICK)
    with pytest.raises(DataError, match=r"^validation\[1\] has 210 in column 1"):
        fit(flow(), ANGLES, validation=degrees, config=QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ends = torch.cat([ANGLES, torch.tensor([[-math.pi, math.pi]])])
        assert fit(flow(), ends, config=QUICK).events == ()
        assert fit(flow().then(Wrap(0, 360)), degrees, config=QUICK).events == ()


def test_a_flow_of_angles_is_not_told_to_standardise():
    """On a base of the line, what is off the circle has a density, and is only said."""
    flow = NCSF(2, transforms=1, bins=3, hidden=(8,), base=StandardNormal(2))
    with pytest.warns(
        UserWarning, match=r"column 0 .*fit badly. Pass flow.then\(Wrap\(low, high\)\)"
    ) as said:
        fit(flow, ANGLES * 100, config=QUICK)
    assert not any("Standardize" in str(warning.message) for warning in said)


def test_constant_columns_can_be_spread_by_noise(small):
    x = torch.cat([GOOD[:, :1], torch.zeros(40, 1)], 1)
    flow = small().then(Standardize(2))
    fit(flow, x, config=TrainConfig(max_steps=3, noise=0.1))
    assert flow.log_prob(x).isfinite().all()


def test_errors_come_before_anything_changes(small):
    flow = small()
    before = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
    with pytest.raises(UserError):
        fit(flow, with_value(17, torch.nan))
    after = flow.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


class Passes(TorchDispatchMode):
    """Counts the operations that go over at least so many numbers."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers, self.count = numbers, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        tensors = [t for t in (*args, found) if isinstance(t, torch.Tensor)]
        view = any(r.alias_info is not None for r in function._schema.returns)
        self.count += not view and any(t.numel() >= self.numbers for t in tensors)
        return found


def test_a_large_table_is_judged_in_few_passes_over_it():
    """1,000,000 × 50, with the fault in the last row: a second's work, and none of training's."""
    with torch.random.fork_rng(devices=[]):
        flow = RealNVP(50, couplings=2, hidden=(8,))
    x = torch.zeros(1_000_000, 50)
    x += torch.arange(1_000_000)[:, None] / 1e6
    x[-1, -1] = torch.nan
    with Passes(x.numel()) as passes, pytest.raises(DataError, match=r"x\[999999\] \(nan in column 49\)"):
        fit(flow, x)
    assert 1 <= passes.count <= 7  # a sum; then isfinite, which is four, its negation, and any
