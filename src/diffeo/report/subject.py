"""What a report is about: a model and rows, whatever kind of model it is, in arrays that figures need."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffeo.bijections import Bijection
from diffeo.distributions import FullMixture, StandardNormal
from diffeo.errors import ConfigError, DataError, ShapeError
from diffeo.estimator import FlowDensity
from diffeo.estimator.joint import JointDensity
from diffeo.flows import Flow
from diffeo.tables import TableModel
from diffeo.tables.columns.levels import LevelCoding
from diffeo.tables.columns.times import TimeCoding
from diffeo.tables.frames import open_frame
from diffeo.tables.variable import Encoded, numbers_of
from diffeo.understanding.labels import as_label, labels_of_cells

Array = NDArray[np.float64]

#: Rows that are looked at, at most: a figure has no more to say of more.
MOST = 20_000


@dataclass(frozen=True)
class Rows:
    """Rows of a table, and what the model says of them.

    Attributes:
        columns: name → numbers (NaN where missing) or labels (None where missing).
        log_p: log p of each row, in nats.
        residuals: standard normal where the model is right, (rows, columns); None where there are none.
        numbers: the rows as numbers, for classifiers, without NaN: labels by their level, holes marked.
        index: the number of each row in the table.
    """

    columns: dict[str, NDArray[Any]]
    log_p: Array
    residuals: Array | None
    numbers: Array
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.log_p)

    def some(self, index: Any) -> Rows:
        """Return some of the rows."""
        return Rows(
            {name: values[index] for name, values in self.columns.items()},
            self.log_p[index],
            None if self.residuals is None else self.residuals[index],
            self.numbers[index],
            self.index[index],
        )


@dataclass(frozen=True)
class Moulder:
    """A flow of columns that can be followed layer by layer: x = view(f(z))."""

    flow: Flow
    view: Bijection | None
    columns: tuple[str, ...]
    weight: float


@dataclass(frozen=True)
class Subject:
    """A model and its rows.

    Attributes:
        kind: what the model is, in words.
        columns: the modelled columns, in the order of an estimator's residuals; a flow's latent numbers are
            of no column, for layers may permute them.
        rows: the rows of the data.
        draws: as many rows drawn from the model.
        held: log p of rows that were held out of its fit, ascending; None where the model does not know.
        moulder: its heaviest flow, if it has one.
        card: what it is: heading → text.
        log: what its fit told.
        weights: members' names and weights.
        read: reads another table as rows of this model.
        total: rows of the table, of which ``rows`` are some.
        digest: SHA-256 of the encoded rows.
        density: the estimator, which can be asked more; None for a flow.
        tables: makes a table of rows, by their numbers among ``rows``.
        shown: of columns of dates and times: what a number of theirs is, as text.
        folds: whether held-out rows were scored by models of one fold each, and the density is their mean.
        together: columns that are modelled together, by flows: their residuals are latent numbers.
    """

    kind: str
    columns: tuple[str, ...]
    rows: Rows
    draws: Rows
    held: Array | None
    moulder: Moulder | None
    card: dict[str, str]
    log: tuple[str, ...]
    weights: tuple[tuple[str, float], ...]
    read: Callable[[Any], Rows]
    total: int
    digest: str
    density: FlowDensity | None = None
    tables: Callable[[NDArray[np.int64]], Any] | None = None
    together: tuple[str, ...] = ()
    folds: bool = False
    shown: Mapping[str, Callable[[float], str]] = field(default_factory=dict[str, Callable[[float], str]])


def subject_of(model: Any, data: Any, *, seed: int = 0, most: int = MOST) -> Subject:
    """Return what a report is about.

    Args:
        model: a fitted FlowDensity without context, a TableModel, or a flow of vectors without context.
        data: the table.
        seed: of the rows that are looked at where there are more than ``most``, and of the draws.
        most: rows that are looked at.

    Raises:
        ConfigError: the model is of another kind, or needs a context.
        DataError: the table has no rows, or too few that the model holds possible.
    """
    if isinstance(model, FlowDensity):
        return _of_density(model, data, seed, most)
    if isinstance(model, TableModel):
        return _of_flow(
            model.as_flow(), model.schema.names, data, seed, most, "a flow of a table of numbers"
        )
    if isinstance(model, Flow):
        if len(model.event_shape) != 1 or model.context_features:
            raise ConfigError(
                f"model is a flow of events of shape {tuple(model.event_shape)} with "
                f"{model.context_features} context features; expected vectors and no context: report on a "
                "flow of rows."
            )
        names = tuple(f"x{k}" for k in range(model.event_shape[0]))
        return _of_flow(copy.deepcopy(model).double(), names, data, seed, most, "a flow of vectors")
    raise ConfigError(
        f"model is a {type(model).__name__}; expected a FlowDensity, a TableModel or a diffeo.Flow."
    )


# -- FlowDensity ---------------------------------------------------------------------------------


def _of_density(model: FlowDensity, data: Any, seed: int, most: int) -> Subject:
    if not hasattr(model, "density_"):
        raise ConfigError("model is not fitted; expected a fitted FlowDensity: call fit first.")
    density = model.density_
    if density.context_schema is not None:
        raise ConfigError(
            "model was fitted with a context; a report describes p(x) of rows alone: fit one without "
            "context=…, the context's columns among the others."
        )
    joint, schema = density.joint, density.schema
    names = tuple(density.order)
    labels = {c.name: _labels(c.coding) for c in schema.columns if isinstance(c.coding, LevelCoding)}
    shown = {
        c.name: partial(_time, c.coding)
        for c in schema.columns
        if isinstance(c.coding, TimeCoding) and c.coding.sort == "datetime"
    }

    def made(encoded: Encoded, index: NDArray[np.int64]) -> Rows:
        columns: dict[str, NDArray[Any]] = {}
        parts: list[Array] = []
        for k, variable in enumerate(joint.variables):
            state, value = encoded.state[:, k], encoded.value[:, k]
            if variable.numeric:
                columns[variable.name] = numbers_of(variable, state, value)
            else:
                table = np.array([*labels.get(variable.name, ()), None, None], dtype=object)
                columns[variable.name] = table[np.where(state < 0, -1, np.minimum(state, variable.levels))]
            parts.append(_as_numbers(variable.numeric, columns[variable.name], state))
        return Rows(
            columns,
            joint.log_prob(encoded),
            joint.residuals(encoded, seed),
            np.concatenate(parts, 1),
            index,
        )

    def read(table: Any) -> Rows:
        encoded = density.rows(table, None)
        index = _chosen(len(encoded), most, seed)
        return made(encoded.rows(index), index)

    encoded = density.rows(data, None)
    if not len(encoded):
        raise DataError("data has no rows; expected at least one.")
    index = _chosen(len(encoded), most, seed)
    looked_at = encoded.rows(index)
    rows = made(looked_at, index)

    def tables(chosen: NDArray[np.int64]) -> Any:
        return density.table(looked_at.rows(chosen))

    drawn = joint.sample(max(len(rows), 1000), seed + 1)
    draws = made(drawn, np.arange(len(drawn)))
    continuous = joint.continuous
    weights = () if continuous is None else tuple((name, weight) for name, weight, _ in continuous.members)
    digest = hashlib.sha256(
        encoded.state.tobytes() + np.ascontiguousarray(encoded.value).tobytes()
    ).hexdigest()
    parameters = sum(
        p.numel()
        for part in (joint.mixed, continuous and continuous.model)
        if part is not None
        for p in part.parameters()
    )
    card = {
        "model": f"FlowDensity(architecture={model.architecture!r}, random_state={model.random_state!r})",
        "columns": str(schema),
        "order of the model": ", ".join(names),
        "parameters": f"{parameters:,}",
        "held out at the fit": f"{model.held_out_nats_:.4f} ± {model.held_out_error_:.4f} nats a row, "
        f"{len(density.held):,} rows",
    }
    return Subject(
        "the exact density of a table (FlowDensity)",
        names,
        rows,
        draws,
        density.held,
        _moulder(model, names),
        card,
        tuple(model.report_.splitlines()),
        weights,
        read,
        len(encoded),
        digest,
        model,
        tables,
        tuple(joint.variables[k].name for k in joint.plain) if len(joint.plain) > 1 else (),
        _of_folds(joint),
        shown,
    )


def _labels(coding: LevelCoding) -> list[str | None]:
    """Return the levels as text."""
    levels = np.arange(len(coding.labels))
    return labels_of_cells(coding.decode(levels, np.full(len(levels), np.nan)))


def _time(coding: TimeCoding, number: float) -> str:
    """Return what a number of a column of times is, as text."""
    return str(labels_of_cells(coding.decode(np.zeros(1, np.int64), np.array([number])))[0])


def _of_folds(joint: JointDensity) -> bool:
    """Return whether a density is the mean of models of several folds."""
    if joint.mixed is not None and len(joint.mixed.models) > 1:
        return True
    members = None if joint.continuous is None else joint.continuous.model
    return members is not None and len(members.flows) > len(members.weights)


def _as_numbers(numeric: bool, column: NDArray[Any], state: NDArray[np.int64]) -> Array:
    """Return a column as one or two of numbers without NaN: holes are at the middle, and marked."""
    if not numeric:
        return state.astype(np.float64)[:, None]
    known = np.isfinite(column)
    middle = float(np.median(column[known])) if known.any() else 0.0
    filled = np.where(known, column, middle)[:, None]
    return filled if known.all() else np.concatenate([filled, (~known).astype(np.float64)[:, None]], 1)


def _moulder(model: FlowDensity, names: tuple[str, ...]) -> Moulder | None:
    """Return the heaviest member that is a flow of complete numbers, if no other column steers it."""
    joint = model.density_.joint
    if joint.continuous is None or joint.features.width or len(joint.plain) < 2:
        return None
    members = joint.continuous.model
    total = float(np.sum(members.weights))
    places = [k for k in range(len(members.flows)) if not isinstance(members.flow(k).base, FullMixture)]
    if not places or not bool((joint.units == 1).all()):
        return None
    place = max(places, key=lambda k: members.weights[members.member_of[k]])
    weight = members.weights[members.member_of[place]] / total
    return Moulder(members.flow(place), members.view(place), names[-len(joint.plain) :], float(weight))


# -- flows ---------------------------------------------------------------------------------------


def _of_flow(flow: Flow, names: tuple[str, ...], data: Any, seed: int, most: int, kind: str) -> Subject:
    flow = flow.eval()

    @torch.no_grad()
    def made(x: Array, index: NDArray[np.int64]) -> Rows:
        rows = torch.from_numpy(np.ascontiguousarray(x))
        log_p, z = flow.log_prob(rows).numpy(), flow.encode(rows)
        normal = z.numpy() if isinstance(flow.base, StandardNormal) else None
        return Rows(dict(zip(names, x.T, strict=True)), log_p, normal, x, index)

    def read(table: Any) -> Rows:
        x = _matrix(table, names)
        index = _chosen(len(x), most, seed)
        return made(x[index], index)

    x = _matrix(data, names)
    index = _chosen(len(x), most, seed)
    rows = made(x[index], index)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed + 1)
        drawn = flow.sample((max(len(rows), 1000),), generator=generator).numpy()
    card = {
        "model": kind,
        "columns": ", ".join(names),
        "parameters": f"{sum(p.numel() for p in flow.parameters()):,}",
    }
    return Subject(
        kind,
        names,
        rows,
        made(drawn, np.arange(len(drawn))),
        None,
        Moulder(flow, None, names, 1.0),
        card,
        (),
        (),
        read,
        len(x),
        hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest(),
    )


def _matrix(data: Any, names: tuple[str, ...]) -> Array:
    """Return the columns of a table as finite numbers, in the order of ``names``."""
    if isinstance(data, torch.Tensor):
        data = data.detach().cpu().numpy()
    frame = open_frame(data)
    if frame.library == "numpy":
        if len(frame.names) != len(names):
            raise ShapeError(
                f"data has {len(frame.names)} columns; expected {len(names)}: {', '.join(names)}."
            )
        places = range(len(names))
    else:
        absent = [name for name in names if name not in frame.names]
        if absent:
            raise DataError(f"data lacks the columns {absent}; expected {list(names)}.")
        places = [frame.names.index(name) for name in names]
    cells = [frame.read(k) for k in places]
    for name, column in zip(names, cells, strict=True):
        if column.sort not in ("float", "whole", "decimal"):
            shown = column.sample(~column.missing)
            raise DataError(
                f"column {name!r} holds {shown}; expected numbers that float64 can hold: convert them."
            )
    found = np.stack([column.numbers() for column in cells], 1)
    if not len(found) or not np.isfinite(found).all():
        what = "no rows" if not len(found) else "missing or infinite values"
        raise DataError(f"data has {what}; expected rows of finite numbers: leave such rows out.")
    return found


def _chosen(rows: int, most: int, seed: int) -> NDArray[np.int64]:
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def labels_of(table: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """Return a column of groups as text; missing is a group of its own."""
    from diffeo.errors import did_you_mean

    if name not in table:
        raise ConfigError(
            f"group={name!r} is no column of the model; expected one of {', '.join(map(repr, table))}."
            f"{did_you_mean(name, table)}"
        )
    return np.array(["(missing)" if v is None or v != v else as_label(v) for v in table[name].tolist()])
