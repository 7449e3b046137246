"""The density of a table: a schema, a standardisation in float64 and a flow in float32."""

from __future__ import annotations

import copy
from collections.abc import Generator
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from diffeo.bijections import Chain, Standardize
from diffeo.errors import ConfigError, DataError, at_least
from diffeo.files import save
from diffeo.flows import Flow
from diffeo.kernels.arrays import as_numbers
from diffeo.kernels.shapes import check_event
from diffeo.kernels.transfers import sent
from diffeo.registry import Part, register
from diffeo.tables.numbers import to_numbers
from diffeo.tables.numeric_schema import NumericSchema, check_frame, listed

if TYPE_CHECKING:
    import polars as pl

#: Rows that pass through the flow at a time.
_ROWS = 16384

#: Standardised values beyond this have log-density −inf: their squares leave float32.
_FAR = 1e16


@register("tables.TableModel")
class TableModel(Part, nn.Module):
    """The density of the rows of a table, in the units of its columns.

    log p(x) = log p_flow(z) − Σⱼ log scaleⱼ, zⱼ = (xⱼ − locⱼ) / scaleⱼ. The standardisation is done in
    float64 and only then cast to the flow's precision, so that a timestamp of 1.7e9 loses no digits. A
    column given in kilometres instead of metres moves every log p(x) by log 1000.

    A row with a missing value (NaN) has log p = NaN; one with an infinite value, or farther than 1e16
    scales from the training rows, −inf. Neither disturbs another row.

    Args:
        schema: the columns.
        flow: the density of the standardised rows, without context, of as many features as columns.

    >>> from diffeo.flows import RealNVP
    >>> from diffeo.tables.numeric_schema import NumericColumn
    >>> schema = NumericSchema((NumericColumn("a"), NumericColumn("b")))
    >>> model = TableModel(schema, RealNVP(2, couplings=2)).eval()
    >>> model.score(np.zeros((1, 2))).round(4)  # untrained: two standard normals
    array([-1.8379])
    >>> model.sample(3, seed=0).columns
    ['a', 'b']
    """

    def __init__(self, schema: NumericSchema, flow: Flow) -> None:
        super().__init__()
        if not isinstance(schema, NumericSchema) or not isinstance(flow, Flow):
            raise ConfigError(
                f"schema is a {type(schema).__name__} and flow a {type(flow).__name__}; expected a "
                "diffeo.tables.NumericSchema and a diffeo.Flow."
            )
        features = len(schema.columns)
        if tuple(flow.event_shape) != (features,) or flow.context_features:
            raise ConfigError(
                f"flow has events of shape {tuple(flow.event_shape)} and {flow.context_features} context "
                f"features; expected shape ({features},), one a column, and no context."
            )
        self.schema = schema
        self.standardize = Standardize(features).double()
        self.flow = flow

    @property
    def device(self) -> torch.device:
        """Return where the model lives."""
        return self.standardize.get_buffer("loc").device

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) in nats, float64, for ``x`` of shape ``batch + (columns,)``, best in float64."""
        check_event("x", x, (len(self.schema.columns),))
        z, log_det = self.standardize.inverse(x.to(self.device, torch.float64))
        missing, far = z.isnan().any(-1), (z.abs() > _FAR).any(-1)
        inner = torch.where((missing | far).unsqueeze(-1), 0.0, z)
        log_p = self.flow.log_prob(inner.to(self.flow.dtype)).double() + log_det
        return torch.where(missing, torch.nan, torch.where(far, -torch.inf, log_p))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``log_prob``."""
        return self.log_prob(x)

    @torch.no_grad()
    def score(self, data: Any) -> np.ndarray:
        """Return log p of every row in nats, float64, in bounded extra memory.

        Args:
            data: a polars or pandas data frame, whose columns are matched by name (others are ignored), or
                an array (rows, columns) in the order of the schema.

        Raises:
            DataError: a column of the model is absent or not numeric, or an array has another shape.
        """
        values = self._values(data)
        scores = torch.empty(len(values), dtype=torch.float64, device=self.device)
        for start in range(0, len(values), _ROWS):
            part = torch.from_numpy(np.array(values[start : start + _ROWS], dtype=np.float64))
            scores[start : start + _ROWS] = self.log_prob(sent(part, self.device))
        return scores.cpu().numpy()

    def sample(self, n: int, *, seed: int = 0) -> pl.DataFrame:
        """Return ``n`` rows drawn from the density, with the columns of the schema as Float64.

        The same seed gives the same rows on the same device.
        """
        import polars as pl

        return pl.concat(list(self.iter_samples(n, seed=seed)))

    @torch.no_grad()
    def iter_samples(self, n: int, *, seed: int = 0, rows: int = 65536) -> Generator[pl.DataFrame]:
        """Yield what :meth:`sample` returns, at most ``rows`` rows at a time (at least one frame)."""
        import polars as pl

        at_least("n", n, 0)
        at_least("rows", rows, 1)
        at_least("seed", seed, 0)
        generator = torch.Generator(self.device).manual_seed(seed)
        for start in range(0, max(n, 1), rows):
            z = self.flow.sample((min(rows, n - start),), generator=generator)
            x, _ = self.standardize(z.double())
            yield pl.DataFrame(dict(zip(self.schema.names, x.cpu().numpy().T, strict=True)))

    def as_flow(self) -> Flow:
        """Return one float64 flow of the raw columns with everything in its chain, sharing nothing."""
        flow = copy.deepcopy(self.flow).double()
        return Flow(flow.base, Chain(flow.bijection, copy.deepcopy(self.standardize)))

    def save(self, path: str | PathLike[str], extra: dict[str, Any] | None = None) -> None:
        """Write one ``.safetensors`` file that :func:`diffeo.load` reads; ``extra`` is plain JSON data."""
        save(self, path, extra)

    def _values(self, data: Any) -> np.ndarray:
        names = self.schema.names
        if type(data).__module__.startswith("polars"):
            check_frame(data)
            self.schema.check(data.columns)
            return to_numbers(data, names)
        if hasattr(data, "columns") and hasattr(data, "to_numpy"):  # pandas, without requiring it
            self.schema.check([str(name) for name in data.columns])
            data = data[list(names)].to_numpy()
        values = as_numbers("data", data)
        if values.ndim != 2 or values.shape[1] != len(names):
            raise DataError(
                f"data has shape {values.shape}; expected (rows, {len(names)}): columns {listed(names)} "
                "in this order. Reshape it, or pass a data frame with these columns."
            )
        return values
