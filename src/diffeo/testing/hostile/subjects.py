"""Small flows and rows that hostile arrays and arguments are given to; shared, and never changed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffeo.flows import Flow, RealNVP
from diffeo.tables import NumericColumn, NumericSchema, TableModel
from diffeo.testing.hostile.entry import Answers, Entry, Refuses

#: Features of the flows, and of the context of the conditional one.
FEATURES, CONTEXT = 2, 3


@functools.cache
def plain_flow() -> Flow:
    """Return a flow of two features without context."""
    return _flow(0)


@functools.cache
def conditional_flow() -> Flow:
    """Return a flow of two features with a context of three."""
    return _flow(CONTEXT)


@functools.cache
def table_model() -> TableModel:
    """Return a model of the columns ``a`` and ``b``."""
    return TableModel(NumericSchema((NumericColumn("a"), NumericColumn("b"))), _flow(0)).eval()


def fresh_flow(context: int = 0) -> Flow:
    """Return a flow that may be fitted."""
    return _flow(context).train()


def rows(count: int = 40, features: int = FEATURES, seed: int = 0) -> np.ndarray:
    """Return ordinary rows, float64."""
    return np.random.default_rng(seed).normal(size=(count, features))


def tensor(count: int = 4, features: int = FEATURES) -> Tensor:
    """Return ordinary rows as a float32 tensor."""
    return torch.from_numpy(rows(count, features)).float()


def refused(name: str, group: str, call: Callable[[], Any], argument: str, received: str) -> Entry:
    """Return an entry that must be refused."""
    return Entry(name, group, call, Refuses(argument, received))


def answered(
    name: str, group: str, call: Callable[[], Any], complaint: Callable[[Any], str], warns: str = ""
) -> Entry:
    """Return an entry that must be answered."""
    return Entry(name, group, call, Answers(complaint, warns))


def _flow(context: int) -> Flow:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return RealNVP(
            FEATURES, context, couplings=2, hidden=(4,), activation="tanh", batch_norm=False
        ).eval()
