"""One model of mixed rows in the units of the columns: marginals, and what columns say of one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from diffeo.bijections import Gaussianize
from diffeo.errors import ConfigError
from diffeo.registry import Part, register
from diffeo.tables.mixed.columns import Columns, drawn_state
from diffeo.tables.mixed.marginals import cell_of, unit_of, value_of
from diffeo.tables.mixed.rows import MixedRows
from diffeo.tables.variable import Encoded, Variable, check_encoded, numbers_of

Floats = NDArray[np.float64]

#: Numbers that the network may make at a time: rows times outputs and units.
_AT_ONCE = 2**22


class Packed(NamedTuple):
    """Rows as the network reads them.

    Attributes:
        z: packed rows, (rows, width), float64.
        slope: log du/dx of each column, (rows, columns).
        ok: whether each cell is possible, (rows, columns).
    """

    z: Tensor
    slope: Tensor
    ok: Tensor


class Completed(NamedTuple):
    """Rows whose unknown cells were drawn.

    Attributes:
        rows: the rows.
        weight: their log-weights.
        prior: log P of the state that was drawn, or forced, in each unknown cell, given all before it and
            that it is not missing, (rows, columns); 0 in known cells.
    """

    rows: Encoded
    weight: Floats
    prior: Floats


@register("tables.MixedModel")
class MixedModel(Part, nn.Module):
    """p(row) of encoded rows: a MixedRows whose numbers are seen through the marginals of the columns.

    log p = log p_rows(s, u) + Σ log duⱼ/dxⱼ over the continuous numbers in the row; those of a lattice are
    cells [u(x − h/2), u(x + h/2)], the first and last of a bounded lattice reaching to infinity. All is
    computed in float64.

    Args:
        variables: the columns, as :class:`~diffeo.tables.variable.Variable` or their fields.
        marginals: a fitted Gaussianize of one feature for each numeric column, None for others.
        rows: the density of packed rows.

    Raises:
        ConfigError: the parts are not those of these variables.
    """

    inside: Tensor

    def __init__(
        self,
        variables: Sequence[Variable | dict[str, Any]],
        marginals: Sequence[Gaussianize | None],
        rows: MixedRows,
    ) -> None:
        super().__init__()
        self.variables = as_variables(variables)
        given = [v.numeric for v in self.variables]
        wanted = tuple(tuple(one) for one in described(self.variables))
        made = rows.layout.states, rows.layout.numeric, rows.layout.lattice
        if [marginal is not None for marginal in marginals] != given or made != wanted:
            raise ConfigError(
                f"marginals and rows are of other columns than the {len(given)} variables; expected a "
                "Gaussianize for each numeric one, and a MixedRows with their states, numeric and lattice."
            )
        self.marginals = nn.ModuleList([nn.Identity() if m is None else m for m in marginals]).double()
        self.rows = rows.double()
        self.register_buffer("inside", torch.zeros(len(given), 2, dtype=torch.float64))

    @classmethod
    def recorded(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Record variables by their fields."""
        return {**arguments, "variables": [dict(vars(v)) for v in as_variables(arguments["variables"])]}

    # -- packed rows -----------------------------------------------------------------------------

    @torch.no_grad()
    def pack(self, encoded: Encoded, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """Return packed rows of ``dtype``, and whether they are possible."""
        check_encoded(self.variables, encoded)
        z = torch.zeros(len(encoded), self.rows.layout.width, dtype=dtype)
        ok = torch.ones(len(z), dtype=torch.bool)
        for column in range(len(self.variables)):
            ok &= self.pack_column(column, *_cells(encoded, column), z)[0]
        return z, ok

    @torch.no_grad()
    def pack_apart(self, encoded: Encoded) -> Packed:
        """Return packed rows, and for each column log du/dx and whether its cell is possible."""
        check_encoded(self.variables, encoded)
        z = torch.zeros(len(encoded), self.rows.layout.width, dtype=torch.float64)
        slope = torch.zeros(len(z), len(self.variables), dtype=torch.float64)
        ok = torch.ones(slope.shape, dtype=torch.bool)
        for column in range(len(self.variables)):
            ok[:, column], slope[:, column] = self.pack_column(column, *_cells(encoded, column), z)
        return Packed(z, slope, ok)

    def pack_column(self, column: int, state: Tensor, value: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Write one column into packed rows ``z``; return whether it is possible, and log du/dx."""
        variable, layout = self.variables[column], self.rows.layout
        ok = (state >= 0) & (state < variable.states)
        if variable.states > 1:
            z[:, layout.state_at[column]] = torch.where(ok, state, -1).to(z.dtype)
        nothing = torch.zeros(len(state), dtype=torch.float64)
        if not variable.numeric:
            return ok, nothing
        value = torch.from_numpy(numbers_of(variable, state.numpy(), value.numpy()))
        has = value.isfinite()
        marginal: Any = self.marginals[column]
        # A whole column of one feature; cells without a number are given one that is possible.
        safe = torch.where(has, value, self.inside[column, 0])
        if variable.lattice:
            # Many rows have few numbers: each is looked up once.
            numbers, place = safe.unique(return_inverse=True)
            cell, fine = (found[..., place] for found in cell_of(variable, marginal, numbers))
            at = layout.cell_at[layout.cells.index(column)]
            z[:, at : at + 3] = torch.where(has & fine, cell, 0.0).T.to(z.dtype)
            return ok & ((fine & has) | (state != 0)), nothing
        u, slope, fine = unit_of(variable, marginal, self.inside[column], safe)
        number = state == 0
        shown = torch.where(has & fine, u, 0.0)
        z[:, layout.number_at[layout.continuous.index(column)]] = shown.to(z.dtype)
        return ok & (fine | ~number) & (has | ~number), torch.where(number & has, slope, 0.0)

    def packed_in_parts(self, encoded: Encoded) -> list[slice]:
        """Return the parts in which rows go through the network, so that they fit in memory."""
        return self.parts_of(len(encoded))

    def parts_of(self, rows: int) -> list[slice]:
        """Return :meth:`packed_in_parts` of so many rows."""
        size = self.rows.layout.outputs + 4 * len(self.rows.network.degrees) + self.rows.layout.width
        part = max(32, _AT_ONCE // size)
        return [slice(k, k + part) for k in range(0, rows, part)]

    @torch.no_grad()
    def log_prob(self, encoded: Encoded, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """Return log p(columns start … stop − 1 | columns before start) of each row, in nats, float64.

        −∞ for rows of which one of these cells is impossible; NaN where an earlier one is.
        """
        check_encoded(self.variables, encoded)
        found = np.empty(len(encoded))
        for part in self.packed_in_parts(encoded):
            found[part] = self._log_prob(self.pack_apart(encoded.rows(part)), start, stop)
        return found

    @torch.no_grad()
    def log_prob_of(self, packed: Packed, start: int = 0) -> NDArray[np.float64]:
        """Return :meth:`log_prob` of rows that were packed, by this model or one of the same marginals."""
        found = np.empty(len(packed.z))
        for part in self.parts_of(len(packed.z)):
            z, slope, ok = (each[part] for each in packed)
            found[part] = self._log_prob(Packed(z.clone(), slope, ok), start, None)
        return found

    def _log_prob(self, packed: Packed, start: int, stop: int | None) -> NDArray[np.float64]:
        z, slope, ok = packed
        # What follows ``stop`` is not asked for, and may be anything.
        each = self.rows.column_log_probs(self._possible(z, ok))[:, start:stop] + slope[:, start:stop]
        total = torch.where(ok[:, start:stop], each, -torch.inf).sum(-1)
        return torch.where(ok[:, :start].all(-1), total, torch.nan).numpy()

    def _possible(self, z: Tensor, ok: Tensor) -> Tensor:
        """Return packed rows with state 0 in the place of impossible states."""
        for column, variable in enumerate(self.variables):
            if variable.states > 1:
                at = self.rows.layout.state_at[column]
                z[:, at] = torch.where(ok[:, column], z[:, at], 0.0)
        return z

    # -- draws -----------------------------------------------------------------------------------

    def sample(self, rows: int, generator: torch.Generator) -> Encoded:
        """Return drawn rows."""
        columns = len(self.variables)
        nothing = Encoded(np.zeros((rows, columns), np.int64), np.full((rows, columns), np.nan))
        return self.complete(nothing, np.zeros((rows, columns), np.bool_), generator, missing=True).rows

    @torch.no_grad()
    def complete(
        self,
        encoded: Encoded,
        known: NDArray[np.bool_],
        generator: torch.Generator,
        *,
        missing: bool = False,
        forced: NDArray[np.int64] | None = None,
    ) -> Completed:
        """Return the rows with unknown cells drawn, and the log-weight of each: likelihood weighting.

        Unknown cells are drawn in the order of the columns, each given all before it. The log-weight is
        that of the known cells, each given all before it, and of each unknown cell not being missing,
        unless ``missing`` allows that: weighted so, draws follow p(unknown | known, not missing). An
        unknown cell takes the state of ``forced``, (rows, columns), where that is none below 0; its number
        is drawn all the same.
        """
        check_encoded(self.variables, encoded)
        state, value = encoded.state.copy(), encoded.value.copy()
        weight, prior = np.zeros(len(encoded)), np.zeros(state.shape)
        forced = np.full(state.shape, -1) if forced is None else forced
        for part in self.packed_in_parts(encoded):
            weight[part], prior[part] = self._complete(
                state[part], value[part], known[part], forced[part], generator, missing
            )
        return Completed(Encoded(state, value), weight, prior)

    def _complete(
        self,
        state: NDArray[np.int64],
        value: Floats,
        known: NDArray[np.bool_],
        forced: NDArray[np.int64],
        generator: torch.Generator,
        missing: bool,
    ) -> tuple[Floats, Floats]:
        """Complete a part of the rows in place; return log-weights, and log P of the states drawn."""
        going = self.rows.columns(len(state))
        z = torch.zeros(len(state), self.rows.layout.width, dtype=torch.float64)
        weight, prior = torch.zeros(len(state), dtype=torch.float64), np.zeros(state.shape)
        for column in range(len(self.variables)):
            given = torch.from_numpy(known[:, column])
            told = torch.from_numpy(np.ascontiguousarray(forced[:, column]))
            drawn, number, allowed, likely = self._draw(column, going, generator, missing, told)
            prior[:, column] = torch.where(given, 0.0, likely).numpy()
            s = torch.where(given, torch.from_numpy(state[:, column]), drawn)
            v = torch.where(given, torch.from_numpy(value[:, column]), number)
            ok, slope = self.pack_column(column, s, v, z)
            likely = self._log_prob_of_column(column, going, s, z) + slope
            weight += torch.where(given, torch.where(ok, likely, -torch.inf), allowed)
            going.show(column, z)
            state[:, column], value[:, column] = s.numpy(), v.numpy()
        return weight.numpy(), prior

    def _draw(
        self, column: int, going: Columns, generator: torch.Generator, missing: bool, forced: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return states and values of a column given earlier ones, log P(not missing), and log P(state)."""
        variable = self.variables[column]
        rows = going.count
        state, allowed = torch.zeros(rows, dtype=torch.long), torch.zeros(rows, dtype=torch.float64)
        value, likely = torch.full((rows,), torch.nan, dtype=torch.float64), torch.zeros_like(allowed)
        if variable.states > 1:
            log_p = going.log_states(column)
            if variable.missing and not missing:
                log_p = log_p[:, :-1]
                allowed = log_p.logsumexp(-1)
            state = torch.where(forced < 0, drawn_state(log_p, generator), forced)
            likely = log_p.gather(-1, state.unsqueeze(-1)).squeeze(-1) - allowed
        if not variable.numeric:
            return state, value, allowed, likely
        number = value_of(variable, self.marginals[column], going.mixture(column).draw(generator))
        atoms = torch.tensor([np.nan, *variable.atoms, np.nan], dtype=torch.float64)
        value = torch.where(state == 0, number, atoms[state])
        return *self.as_atoms(column, state, value), allowed, likely

    def as_atoms(self, column: int, state: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return states and values in which a lattice's number that is also an atom's is the atom."""
        variable = self.variables[column]
        if variable.lattice:
            for level, atom in enumerate(variable.atoms, 1):
                same = (state == 0) & ((value - atom).abs() < 0.5 * variable.lattice)
                state, value = torch.where(same, level, state), torch.where(same, atom, value)
        return state, value

    def _log_prob_of_column(self, column: int, going: Columns, state: Tensor, z: Tensor) -> Tensor:
        """Return log p of a packed column given earlier ones, in the packed units."""
        layout, rows = self.rows.layout, self.rows
        log_p = torch.zeros(going.count, dtype=torch.float64)
        first = log_p
        if self.variables[column].states > 1:
            states = going.log_states(column)
            inner = state.clamp(0, states.shape[-1] - 1).unsqueeze(-1)
            log_p, first = states.gather(-1, inner).squeeze(-1), states[:, 0]
        if not self.variables[column].numeric:
            return log_p
        if column in layout.continuous:
            u = z[:, layout.number_at[layout.continuous.index(column)]]
            return log_p + torch.where(state == 0, going.mixture(column).log_density(u), 0.0)
        at = layout.cell_at[layout.cells.index(column)]
        return log_p + rows.beside(log_p, first, state == 0, going.mixture(column), z[:, at : at + 3].T)


def _cells(encoded: Encoded, column: int) -> tuple[Tensor, Tensor]:
    """Return states and values of a column."""
    state, value = encoded.state[:, column], encoded.value[:, column]
    return torch.from_numpy(np.ascontiguousarray(state)), torch.from_numpy(np.ascontiguousarray(value))


def as_variables(given: Sequence[Variable | dict[str, Any]]) -> tuple[Variable, ...]:
    """Return variables, built from their fields where they are given so."""
    return tuple(v if isinstance(v, Variable) else Variable(**v) for v in given)


def described(variables: Sequence[Variable]) -> tuple[list[int], list[bool], list[bool]]:
    """Return the states, numeric and lattice that MixedRows is made for."""
    return (
        [v.states for v in variables],
        [v.numeric for v in variables],
        [v.numeric and v.lattice > 0 for v in variables],
    )
