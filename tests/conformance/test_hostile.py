"""Hostile input: the whole catalogue, and a judge that is itself judged."""

from __future__ import annotations

import time
import warnings
from collections import Counter

import pytest
import torch

from diffeo.distributions import normal
from diffeo.errors import ConfigError, DataError, FileError, ShapeError
from diffeo.testing import hostile
from diffeo.testing.hostile import Answers, Entry, Refuses, catalogue, figures, judge, run_catalogue
from diffeo.testing.hostile import judge as judging

CATALOGUE = catalogue()


def right(found: object) -> str:
    return "" if found == 2.0 else f"{found}, where 2.0 is right"


def call_that(raises: Exception):
    def call() -> None:
        raise raises

    return call


def test_the_catalogue_is_large_and_its_names_differ() -> None:
    assert len(CATALOGUE) >= 500
    assert [name for name, count in Counter(entry.name for entry in CATALOGUE).items() if count > 1] == []
    counts = Counter(entry.group for entry in CATALOGUE)
    assert min(counts[group] for group in ("numbers", "arrays", "arguments", "tables")) >= 100


@pytest.mark.parametrize("group", ["numbers", "arrays", "arguments", "tables"])
def test_every_hostile_input_ends_well(group: str) -> None:
    verdicts = [judge(entry) for entry in CATALOGUE if entry.group == group]
    bad = [
        f"{verdict.entry.name}\n    {verdict.wrong or 'lacks ' + verdict.unclear}\n    {verdict.message}"
        for verdict in verdicts
        if verdict.wrong or verdict.unclear
    ]
    assert not bad, f"{len(bad)} of {len(verdicts)}:\n" + "\n".join(bad[:30])
    outcome, clarity = figures(verdicts)
    assert (outcome.figure, outcome.failed, outcome.tested) == ("B1", 0, len(verdicts))
    assert (clarity.figure, clarity.failed) == ("B8", 0)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda: 3.0, "3.0, where 2.0 is right"),
        (lambda: float("nan"), "nan, where"),
        (lambda: None, "None, where"),
        (call_that(RuntimeError("shapes cannot be multiplied")), "a bare RuntimeError"),
        (call_that(ValueError("x must be real: pass numbers")), "a bare ValueError"),
        (call_that(ConfigError("x=2 must be 3: pass it.")), "was refused"),
        (lambda: warnings.warn("overflow", RuntimeWarning, stacklevel=1) or 2.0, "RuntimeWarning"),
    ],
)
def test_the_judge_catches_a_wrong_answer(answer, complaint: str) -> None:
    assert complaint in judge(Entry("two", "numbers", answer, Answers(right))).wrong


def test_the_judge_accepts_the_right_answer_and_an_announced_warning() -> None:
    assert judge(Entry("two", "numbers", lambda: 2.0, Answers(right))).wrong == ""

    def loud() -> float:
        warnings.warn("column looks discrete", UserWarning, stacklevel=1)
        return 2.0

    assert judge(Entry("two", "numbers", loud, Answers(right, "looks discrete"))).wrong == ""
    assert "looks discrete" in judge(Entry("two", "numbers", loud, Answers(right))).wrong


def test_the_judge_catches_an_oracle_that_cannot_read_the_answer() -> None:
    entry = Entry("text", "numbers", lambda: "2", Answers(lambda found: "" if found + 1 == 3 else "no"))
    assert "cannot be checked" in judge(entry).wrong


def test_the_judge_catches_what_should_have_been_refused() -> None:
    assert "was accepted" in judge(Entry("x", "arrays", lambda: 2.0, Refuses("x", "2"))).wrong


def test_the_judge_catches_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0 + hostile.HANG])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    assert "took 11.0 s" in judge(Entry("two", "numbers", lambda: 2.0, Answers(right))).wrong


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (ShapeError("x has shape (3,); expected (..., 2): reshape it."), ""),
        (ShapeError("value has shape (3,); expected (..., 2): reshape it."), "the argument (x)"),
        (ShapeError("x has a bad shape; expected (..., 2): reshape it."), r"what was received (\(3,\))"),
        (ShapeError("x has shape (3,). Reshape it."), "an expectation"),
        (ShapeError("x has shape (3,); expected (..., 2)."), "a remedy"),
        (ConfigError("x=(3,) must be a pair of sizes."), ""),
        (ConfigError("x=(3,) is wrong."), "an expectation, a remedy"),
        (DataError("x of shape (3,) must have rows."), "a remedy"),
        (FileError("x, (3,), cannot be read."), "a remedy"),
    ],
)
def test_the_audit_of_messages(error: Exception, lacks: str) -> None:
    wanted = Refuses(r"\bx\b", r"\(3,\)")
    assert hostile.lacks(error, wanted).replace(r"\bx\b", "x") == lacks
    verdict = judge(Entry("a shape", "arrays", call_that(error), wanted))
    assert verdict.wrong == ""
    failed = [figure.failed for figure in figures([verdict])]
    assert failed == [0, int(bool(lacks))]


def test_a_density_that_is_wrong_far_out_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [entry for entry in CATALOGUE if "log_prob of StandardNormal, " in entry.name]
    assert [figure.failed for figure in run_catalogue(entries)] == [0, 0]

    def twice_too_low(z: torch.Tensor) -> torch.Tensor:
        near = z.abs() <= (1e154 if z.dtype == torch.float64 else 1e19)
        return torch.where(near, -0.5 * z.square(), -z.square()) - 0.9189385332046727

    monkeypatch.setattr(normal, "log_normal", twice_too_low)
    outcome, _ = run_catalogue(entries)
    assert outcome.failed == 2
    assert "√largest" in outcome.detail


def test_a_density_that_is_slightly_wrong_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [entry for entry in CATALOGUE if "0.999 to log_prob of StandardNormal, " in entry.name]
    plain = normal.log_normal
    monkeypatch.setattr(normal, "log_normal", lambda z: plain(z) * (1 + 1e-5))
    assert run_catalogue(entries)[0].failed == len(entries) == 2


def test_the_limit_of_a_hang_is_the_published_one() -> None:
    assert judging.__globals__["HANG"] == hostile.HANG == 10.0
