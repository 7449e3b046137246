"""The density of rows of mixed columns, one column after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from diffeo.distributions import Base
from diffeo.errors import ConfigError, at_least, number
from diffeo.kernels.safe import split_safe
from diffeo.kernels.shapes import check_context, join_batch, safe_context
from diffeo.kernels.tiles import in_tiles
from diffeo.registry import register
from diffeo.tables.mixed.cells import EDGE, FAR, Normals, start
from diffeo.tables.mixed.columns import Columns
from diffeo.tables.mixed.layout import ONE_HOT, checked
from diffeo.tables.mixed.network import MaskedColumns
from diffeo.tables.mixed.shown import middle_of, one_hot, waves

#: Rows over which states' probabilities are averaged, at most.
_SOME = 4096


@register("tables.MixedRows")
class MixedRows(Base):
    """p(row) = ∏ⱼ p(sⱼ | earlier) · [p(uⱼ | earlier) where sⱼ says that there is a number], one network.

    States have a categorical law and numbers a mixture of K normals, in units in which a column by itself
    is a standard normal. A number of a lattice has the mass of its cell; and where its value is also that
    of an atom (a state of its own), both ways to it count: P(sⱼ) + P(sⱼ = 0) · F[cell]. So the density is
    normalised with respect to counting measure for states and cells, and to Lebesgue measure for the other
    numbers u.

    It begins as the product of its marginals: states at their frequencies (:meth:`initialise`), numbers at
    the standard normal. With ``hidden=0`` it stays a product.

    An event is a packed row (:class:`~diffeo.tables.mixed.layout.Layout`). States that are none of the
    column's, and cells without width where no atom is, have density 0.

    Source: Germain et al., *MADE* (2015); Uria, Murray & Larochelle, *RNADE* (2013), equations 8–11, for
    mixtures as conditionals; Salimans et al., *PixelCNN++* (2017), equation 2, for the masses of cells.

    Args:
        states: the number of states of each column, at least 1.
        numeric: whether state 0 of each column carries a number.
        lattice: whether that number is packed as a cell.
        hidden: hidden units of the network.
        blocks: its residual blocks.
        components: K.
        dropout: the probability of dropping a hidden unit inside a block, and all that is shown of a
            column, in training.
        context: features of the context, which every column sees.

    Raises:
        ConfigError: an argument is out of range, or the lists are not of one length.

    >>> rows = MixedRows([2, 1], [False, True], [False, False], hidden=16).eval()
    >>> z = torch.tensor([[1.0, 0.0], [2.0, 0.0]])  # state and number; the second state is none
    >>> rows.log_prob(z)  # about log ½ + log N(0; 0, 1)
    tensor([-1.6137,    -inf], grad_fn=<SumBackward1>)
    """

    reads_data = True
    coded = True

    def __init__(
        self,
        states: Sequence[int],
        numeric: Sequence[bool],
        lattice: Sequence[bool],
        *,
        hidden: int = 128,
        blocks: int = 2,
        components: int = 8,
        dropout: float = 0.0,
        context: int = 0,
    ) -> None:
        layout = self.layout = checked(states, numeric, lattice, components)
        at_least("hidden", hidden, 0)
        at_least("blocks", blocks, 0)
        at_least("context", context, 0)
        number("dropout", dropout, least=0, below=1)
        super().__init__(layout.width)
        self.context_features, self.dropout = context, float(dropout)
        shown = layout.shown()
        self.network = MaskedColumns(shown, layout.wanted(), hidden, blocks, dropout, context)
        sizes = [(size, column) for size, columns in layout.groups for column in columns]
        self.codes = nn.ParameterDict(
            {str(column): torch.empty(size, ONE_HOT) for size, column in sizes if size > ONE_HOT}
        )
        for code in self.codes.values():
            nn.init.normal_(code, std=ONE_HOT**-0.5)
        grouped = [column for _, column in sizes]
        rank = {column: k for k, column in enumerate(grouped)}
        places: dict[str, Any] = {
            "_state_at": layout.state_at,
            "_number_at": layout.number_at,
            "_cell_at": [[at + k for at in layout.cell_at] for k in range(3)],
            "_continuous": layout.continuous,
            "_cells": layout.cells,
            "_grouped": grouped,
            "_rank": [rank.get(column, len(grouped)) for column in range(len(layout.states))],
            "_shown": shown,
        }
        for name, place in places.items():
            self.register_buffer(name, torch.tensor(place, dtype=torch.long), persistent=False)
        self.register_buffer("_start", torch.tensor(start(components)), persistent=False)
        last = torch.tensor(layout.states, dtype=torch.float32) - 1
        self.register_buffer("_last", last, persistent=False)
        self.register_buffer("initialised", torch.tensor(False))

    # -- density ---------------------------------------------------------------------------------

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p of packed rows."""
        return self.column_log_probs(z, context).sum(-1)

    def column_log_probs(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p of each column of packed rows given those before it, ``batch + (columns,)``."""
        context = self._read(context)
        z, context = join_batch(z, context, 1)
        safe, mark = safe_context(context)
        index, valid, u, cell, real = self._unpacked(z)
        inputs = self._shown_of(index, u, cell)
        if self.training and self.dropout:
            # A column is hidden whole, so that no other of its inputs gives it away.
            columns = inputs.new_ones(*inputs.shape[:-1], len(self.layout.states))
            inputs = inputs * nn.functional.dropout(columns, self.dropout)[..., self.get_buffer("_shown")]
        theta = self.network(inputs, safe) if self.training else in_tiles(self.network, inputs, safe)
        each = self._log_probs_of(theta, index, u, cell)
        each = torch.where(valid.unsqueeze(-1), each, -torch.inf)
        each = torch.where(real.unsqueeze(-1), each, torch.nan)
        return each if mark is None else each + mark.unsqueeze(-1)

    def _unpacked(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return states, whether they exist, numbers, cells (3, …), and whether the row has no NaN."""
        real = ~z.isnan().any(-1)
        padded = nn.functional.pad(z, (0, 1))
        state = padded[..., self.get_buffer("_state_at")]
        ok, inner = split_safe(state, 1e6)
        index = inner.round().clamp(min=0).minimum(self.get_buffer("_last"))
        valid = (ok & (index == inner)).all(-1)
        near, u = split_safe(padded[..., self.get_buffer("_number_at")], FAR)
        has = index[..., self.get_buffer("_continuous")] == 0
        valid = valid & (near | ~has).all(-1)
        cells = padded[..., self.get_buffer("_cell_at")].movedim(-2, 0)
        inside = split_safe(cells, FAR)[0].all(0)
        return index.long(), valid & inside.all(-1), u, torch.where(inside, cells, 0.0), real

    def _shown_of(self, index: Tensor, u: Tensor, cell: Tensor) -> Tensor:
        """Return what the network is shown: states by group, then numbers."""
        index = index[..., self.get_buffer("_grouped")]
        parts: list[Tensor] = []  # written so, torch.compile knows what it is
        begin = 0
        for size, columns in self.layout.groups:
            chosen, begin = index[..., begin : begin + len(columns)], begin + len(columns)
            if size <= ONE_HOT:
                parts.append(one_hot(chosen, size, u.dtype).flatten(-2))
            else:
                parts += [self.codes[str(j)][chosen[..., k]] for k, j in enumerate(columns)]
        place = torch.cat([u, middle_of(cell)], -1)
        return torch.cat([*parts, waves(place).flatten(-2)], -1)

    def shown_of(self, column: int, z: Tensor) -> Tensor:
        """Return what the network is shown of one column of packed rows."""
        layout = self.layout
        parts: list[Tensor] = []
        if (size := layout.states[column]) > 1:
            state = z[:, layout.state_at[column]].long()
            parts.append(
                one_hot(state, size, z.dtype) if size <= ONE_HOT else self.codes[str(column)][state]
            )
        if column in layout.continuous:
            parts.append(waves(z[:, layout.number_at[layout.continuous.index(column)]]))
        elif column in layout.cells:
            at = layout.cell_at[layout.cells.index(column)]
            parts.append(waves(middle_of(z[:, at : at + 2].T)))
        return torch.cat([*parts, z[:, :0]], -1)

    def _log_probs_of(self, theta: Tensor, index: Tensor, u: Tensor, cell: Tensor) -> Tensor:
        """Return log p of each column, given the network's outputs."""
        layout, theta = self.layout, theta.to(u.dtype)  # an autocast network's are bfloat16
        chosen, first = self._log_states(theta, index)
        mixtures = theta[..., layout.all_logits :].unflatten(
            -1, (len(layout.numbers), layout.components, 3)
        )
        count, begin = len(layout.continuous), self.get_buffer("_start")
        has = index[..., self.get_buffer("_continuous")] == 0
        density = Normals(mixtures[..., :count, :, :], begin).log_density(u)
        places = self.get_buffer("_continuous")
        each = chosen.index_add(-1, places, torch.where(has, density, 0.0))
        if layout.cells:
            at = self.get_buffer("_cells")
            law = Normals(mixtures[..., count:, :, :], begin)
            more = self.beside(chosen[..., at], first[..., at], index[..., at] == 0, law, cell)
            each = each.index_add(-1, at, more)
        return each

    @staticmethod
    def beside(chosen: Tensor, first: Tensor, number: Tensor, law: Normals, cell: Tensor) -> Tensor:
        """Return what a number of a lattice adds to the log-probability of its state.

        In state 0, log F[cell]. In the state of an atom, log(1 + P(0) F[cell] / P(s)); where no number is,
        the cell has no width, and nothing is added.

        Args:
            chosen: log P of the state.
            first: log P of state 0.
            number: whether the state is 0.
            law: the law of the number.
            cell: its ends and width, (3, …).
        """
        wide = (cell[2] > 0) & (cell[1] >= cell[0])
        # A cell of another number in place of none: no derivative of none is finite.
        below = torch.where(wide, cell[0].clamp(-EDGE, EDGE), -1.0)
        above = torch.where(wide, cell[1].clamp(-EDGE, EDGE), 1.0)
        mass = law.log_mass(below, above, torch.where(wide, cell[2], 2.0))
        odds = torch.where(wide & ~number, first + mass - chosen, 0.0)
        both = torch.where(wide, torch.logaddexp(odds, torch.zeros_like(odds)), 0.0)
        return torch.where(number, torch.where(wide, mass, -torch.inf), both)

    def _log_states(self, theta: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return log P of each column's state, and of its state 0; 0 for columns of one state."""
        layout = self.layout
        blank = theta.new_zeros(*theta.shape[:-1], len(layout.states))
        if not layout.groups:
            return blank, blank
        index = index[..., self.get_buffer("_grouped")]
        chosen: list[Tensor] = []
        first: list[Tensor] = []
        start = begin = 0
        for size, columns in layout.groups:
            stop, end = start + size * len(columns), begin + len(columns)
            log_p = theta[..., start:stop].unflatten(-1, (len(columns), size)).log_softmax(-1)
            chosen.append(log_p.gather(-1, index[..., begin:end].unsqueeze(-1)).squeeze(-1))
            first.append(log_p[..., 0])
            start, begin = stop, end
        at, none = self.get_buffer("_rank"), blank[..., :1]
        return torch.cat([*chosen, none], -1)[..., at], torch.cat([*first, none], -1)[..., at]

    # -- start -----------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self, z: Tensor, context: Tensor | None = None) -> Self:
        """Start the states at their frequencies among packed rows, unless that was done before.

        Each state gets a share besides what was counted: half a row, or less where few of the states that
        were met were met only once (what is yet to be met is then rare too).
        """
        if bool(self.get_buffer("initialised")):
            return self
        bias = self.network.outlet()
        for column, size in enumerate(self.layout.states):
            if size == 1:
                continue
            begin, end = self.layout.logits_of(column)
            bias[begin:end] = self._frequencies(z, column).log().to(bias.dtype)
        self.get_buffer("initialised").fill_(True)
        return self

    @torch.no_grad()
    def recentre(self, z: Tensor) -> Self:
        """Move the laws of the states so that, averaged over packed rows, they are the frequencies there.

        What earlier columns say of a state stays: each logit is moved by log (frequency / mean
        probability), the mean over some rows, evenly spaced.
        """
        some = z[:: 1 + len(z) // _SOME].to(self.network.outlet().dtype)
        index, valid, u, cell, real = self._unpacked(some)
        theta = in_tiles(self.network, self._shown_of(index, u, cell), None)[valid & real]
        bias = self.network.outlet()
        for column, size in enumerate(self.layout.states):
            if size == 1 or not len(theta):
                continue
            begin, end = self.layout.logits_of(column)
            said = theta[:, begin:end].double().softmax(-1).mean(0).clamp(min=1e-30)
            bias[begin:end] += (self._frequencies(z, column) / said).log().to(bias.dtype)
        return self

    def _frequencies(self, z: Tensor, column: int) -> Tensor:
        """Return the frequencies of a column's states, with a share for each that none is without."""
        size = self.layout.states[column]
        state = z[..., self.layout.state_at[column]].flatten()
        state = state[(state >= 0) & (state < size)].long()
        count = torch.bincount(state, minlength=size).to(torch.float64)
        share = min(0.5, (float((count == 1).sum()) + 0.5) / size)
        return (count + share) / (count + share).sum()

    # -- samples ---------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return packed rows, drawn column by column; they carry no gradients.

        Raises:
            ConfigError: a column has a lattice, whose cells only the whole model of a table knows.
        """
        if self.layout.cells:
            raise ConfigError(
                f"column {self.layout.cells[0]} has a lattice, and packed rows do not say where its cells "
                "are; expected columns without one: sample from the MixedDensity that this is a part of."
            )
        context = self._read(context)
        safe, mark = safe_context(context)
        rows = torch.Size(shape).numel()
        if safe is not None:
            safe = safe.expand(*shape, -1).reshape(rows, safe.shape[-1])
        z = Columns(self, rows, safe).drawn(generator)
        z = z.reshape(*shape, self.layout.width)
        return z if mark is None else z + mark.unsqueeze(-1)

    def columns(self, rows: int, context: Tensor | None = None) -> Columns:
        """Return a pass through the columns of some rows, whose law is asked for one after another."""
        return Columns(self, rows, context)

    def _read(self, context: Tensor | None) -> Tensor | None:
        check_context(context, self.context_features) if self.context_features else None
        return context if self.context_features else None
