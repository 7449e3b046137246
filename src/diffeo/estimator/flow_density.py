"""``FlowDensity``: the exact density of any table, as a scikit-learn estimator."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, DensityMixin, OutlierMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from diffeo.errors import ConfigError, FileError, at_least, number, one_of
from diffeo.estimator import stored
from diffeo.estimator.continuous import CHOICES
from diffeo.estimator.fitted import Fitted
from diffeo.estimator.given import Given, given
from diffeo.estimator.imputation import Imputed, imputed
from diffeo.estimator.inputs import as_python, checked, checked_latent, random_seed
from diffeo.estimator.learning import Plan, learnt
from diffeo.estimator.seen import Seen
from diffeo.estimator.told import Told, printer
from diffeo.tables.inferring import as_plain
from diffeo.tables.schema import Schema
from diffeo.tables.variable import Encoded

Array = NDArray[np.float64]


class FlowDensity(OutlierMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """The exact density p(x) of a table's rows: numbers, counts, categories, dates, bounds, holes.

    p(row) = p(a) · p(b | a). a are the columns with states or lattices (categories, whole and rounded
    numbers, atoms, holes): an autoregressive density over outcomes and cells. b are the complete continuous
    columns: a mixture of normalizing flows and classical densities, weighted on held-out rows. The density
    is exact and normalised with respect to counting measure on states and lattices, times Lebesgue measure
    in each continuous column's own unit.

    It takes numpy arrays, pandas and polars frames and Arrow tables; ``sample`` returns what ``fit`` was
    given: the same kind of frame, columns, dtypes and categories. A missing value is an outcome that is
    modelled: p(pattern, observed values).

    Args:
        architecture: "auto" chooses on held-out rows; or one of "spline-coupling", "spline-autoregressive",
            "affine", "gaussian", "mixture", "kernel", for the continuous columns.
        time_budget: seconds that ``fit`` may take; None takes what the table asks for, at most two minutes.
        kinds: column name → kind, where the inferred :class:`~diffeo.tables.columns.Schema` guesses wrong;
            or a whole schema, edited by ``with_kind`` or loaded, which is then taken as it is.
        first: columns that come first in the model, in this order: :meth:`conditional` can fix them.
        contamination: the share of rows that ``predict`` calls outliers, calibrated on held-out rows.
        max_steps: optimisation steps of each training, at most. With it, no clock decides anything, and
            the same ``random_state`` gives the same density.
        warm_start: let ``fit`` go on from what was learnt before, on the new rows; of these the same are
            held out as before.
        random_state: seed of everything random in ``fit``.
        verbose: whether to print what is tried, chosen and why; None prints on a terminal.

    Attributes:
        density_: the fitted density of encoded rows.
        order_: the columns in the order of the model; those of the continuous mixture last, together.
        schema_: the columns, as inferred; ``print`` it.
        held_out_nats_: mean log p of rows that were held out, in nats a row.
        held_out_error_: its standard error.
        report_: what was tried, what was chosen and why, as text.
        offset_: the log-density below which ``predict`` calls a row an outlier.

    Source: Papamakarios et al., *Normalizing flows for probabilistic modeling and inference* (2021); each
    member names its own.

    >>> x = np.random.default_rng(0).normal(size=(200, 2)).cumsum(1)
    >>> model = FlowDensity(architecture="gaussian", random_state=0).fit(x)
    >>> model.score_samples(x).shape, model.sample(3).shape
    ((200,), (3, 2))
    """

    n_features_in_: int
    seen_: Seen | None
    feature_names_in_: NDArray[Any]

    def __init__(
        self,
        architecture: str = "auto",
        *,
        time_budget: float | None = None,
        kinds: Mapping[str, str] | Schema | None = None,
        first: Sequence[str] = (),
        contamination: float = 0.05,
        max_steps: int | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool | None = None,
    ) -> None:
        self.architecture = architecture
        self.time_budget = time_budget
        self.kinds = kinds
        self.first = first
        self.contamination = contamination
        self.max_steps = max_steps
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    # -- fitting ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, context: Any = None, sample_weight: Any = None) -> Self:
        """Learn p(x), or p(x | context), from the rows of ``X``.

        Args:
            X: the table, (rows, columns).
            y: ignored; there so that pipelines can pass it.
            context: a table with as many rows, whose columns are conditioned on and not modelled.
            sample_weight: how much each row counts, at least 0. Whole weights say how often a row was seen,
                and repeat it exactly (up to a million rows, fewer of many columns); by others rows are
                drawn again in proportion.

        Raises:
            ConfigError: an argument of the constructor is not allowed.
            DataError: a column or row cannot be used; found before training starts.
        """
        begun = time.perf_counter()
        self._check_arguments()
        going_on = self.warm_start and hasattr(self, "density_")
        table = checked(self, X, reset=not going_on)
        return self._learn(table, context, sample_weight, begun, going_on, add=False)

    def partial_fit(self, X: Any, y: Any = None, *, context: Any = None, sample_weight: Any = None) -> Self:
        """Go on learning with more rows, of the columns that the first call saw.

        All rows seen are kept (encoded) and trained on, so that nothing is forgotten; rows that were held
        out stay held out, and so are copies of them. ``warm_start`` goes on with the rows of the new
        ``fit`` alone.
        """
        begun = time.perf_counter()
        self._check_arguments()
        going_on = hasattr(self, "density_")
        table = checked(self, X, reset=not going_on)
        return self._learn(table, context, sample_weight, begun, going_on, add=True)

    def _learn(
        self,
        table: Any,
        context: Any,
        sample_weight: Any,
        begun: float,
        going_on: bool,
        add: bool,
    ) -> Self:
        told = Told(printer(self.verbose))
        plan = Plan(
            self.architecture,
            as_python(self.time_budget),
            as_python(self.max_steps),
            self.kinds or {},
            self._first(),
            random_seed(self.random_state),
            begun,
        )
        density, self.seen_ = learnt(
            table,
            context,
            sample_weight,
            plan,
            told,
            density=self.density_ if going_on else None,
            last=self.seen_ if going_on else None,
            add=add,
        )
        self._judge(density)
        told(
            f"held out: {self.held_out_nats_:.4f} ± {self.held_out_error_:.4f} nats a row, over "
            f"{len(density.held)} rows; fitted in {time.perf_counter() - begun:.1f} s"
        )
        self.report_ = "\n".join(told.lines)
        return self

    def _judge(self, density: Fitted) -> None:
        """Keep a density, and read off its held-out rows what a row's log-density is worth."""
        held = density.held
        finite = held[np.isfinite(held)]
        self.density_, self.schema_ = density, density.schema
        self.order_ = density.order
        with np.errstate(over="ignore"):
            self.held_out_nats_ = float(held.mean())
            self.held_out_error_ = float(finite.std() / max(len(finite), 1) ** 0.5)
        self.offset_ = float(np.quantile(held, self.contamination, method="lower"))

    def _first(self) -> list[Any]:
        first: Any = self.first
        return [] if first is None else [as_python(name) for name in first]

    def _check_arguments(self) -> None:
        one_of("architecture", self.architecture, CHOICES)
        number("time_budget", as_python(self.time_budget), above=0, optional=True)
        number("contamination", as_python(self.contamination), above=0, most=0.5)
        at_least("max_steps", as_python(self.max_steps), 1, optional=True)
        if isinstance(self.first, str):
            raise ConfigError(
                f"first={self.first!r} is text; expected a list of columns: [{self.first!r}]."
            )

    # -- density ---------------------------------------------------------------------------------

    def score_samples(self, X: Any, context: Any = None) -> Array:
        """Return log p(x) for each row of ``X``, in nats.

        A row that the columns' kinds rule out (a category never seen, a number beyond a bound, a hole in a
        column that had none) has log-density −inf.
        """
        rows = self._rows(X, context)
        return self.density_.joint.log_prob(rows)

    def score(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, X: Any, y: Any = None, *, context: Any = None
    ) -> float:
        """Return the mean of log p(x) over the rows of ``X``, in nats a row."""
        return float(self.score_samples(X, context).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None, *, context: Any = None) -> Any:
        """Draw rows: the same kind of table, columns, dtypes and categories that ``fit`` was given.

        Args:
            n_samples: rows to draw; for a model with context, draws for each row of it, row after row.
            random_state: seed of the draws; None takes new ones each time.
            context: the rows to draw under, for a model that was fitted with context.
        """
        n_samples = as_python(n_samples)
        at_least("n_samples", n_samples, 1)
        check_is_fitted(self, "density_")
        prefix = self.density_.prefix(context)
        if prefix is not None:
            prefix = prefix.rows(np.repeat(np.arange(len(prefix)), n_samples))
        return self.density_.drawn(n_samples, random_seed(random_state), prefix)

    def conditional(
        self, columns: Mapping[str, Any] | None = None, /, *, context: Any = None, **fixed: Any
    ) -> Given:
        """Return p(other columns | fixed columns), for columns that come first in the model's order.

        ``order_`` says the order; ``first=[…]`` chooses which columns lead it. Columns whose names are no
        names of Python, or are ``context``, go into a dict: ``conditional({"context": 1})``.

        Raises:
            ConfigError: the columns are not the first of the model's order.

        >>> x = np.random.default_rng(0).integers(0, 3, size=(300, 2))
        >>> model = FlowDensity(first=["x0"], max_steps=20, random_state=0).fit(x)
        >>> model.conditional(x0=1).sample(2, random_state=0)[:, 0].tolist()
        [1, 1]
        """
        check_is_fitted(self, "density_")
        return given(self.density_, context, {**(columns or {}), **fixed})

    def impute(self, X: Any, n: int = 1, random_state: Any = None, *, proposals: int = 100) -> Imputed:
        """Fill the holes of ``X`` with ``n`` draws from p(missing cells | observed cells of the row).

        By likelihood weighting: candidates are drawn in the model's order (``order_``) and resampled by how
        likely the known cells after them are then, ``proposals`` a row (or ``n``, if that is more), with
        the effective sample size of each row. Where unknown cells have states, about half of the candidates
        go through all combinations of these (at most 200, or ``proposals`` if that is more; else those of
        the first columns), so that none goes unseen.

        Draws are exact where all missing columns come last and had no hole in ``fit``, and where only
        categories are missing, of no more combinations than that; of the continuous mixture where all or
        none are missing, or all members are mixtures of normals.

        Raises:
            DataError: a row's observed cells are impossible under the columns' kinds.
        """
        n, proposals = as_python(n), as_python(proposals)
        at_least("n", n, 1)
        at_least("proposals", proposals, 1)
        check_is_fitted(self, "density_")
        table = checked(self, X, reset=False)
        return imputed(self.density_, table, n, random_seed(random_state), max(proposals, n))

    # -- latent ----------------------------------------------------------------------------------

    def transform(self, X: Any, context: Any = None) -> Array:
        """Return the latent numbers of rows, one a column, near standard normal.

        For an outcome that has mass (a category, an integer) the normal quantile of the middle of its
        interval of the conditional distribution.
        """
        rows = self._rows(X, context)
        return self.density_.joint.encode(rows)

    def residuals(self, X: Any, context: Any = None, random_state: Any = None) -> Array:
        """Return randomised residuals of rows, one a column: standard normal, exactly, if p(x) is right.

        Unlike :meth:`transform`, whose numbers are one member's and stepped where outcomes have mass, a
        member is drawn for each row by how likely it is to have drawn it, and a point within each step.
        They are for tests of the fit (:func:`diffeo.diagnostics.fit.latent_normality`), in the order of
        ``order_``; NaN in rows of density 0.

        Source: Dunn & Smyth, *Randomized quantile residuals* (1996).

        >>> x = np.random.default_rng(0).normal(size=(300, 1))
        >>> model = FlowDensity(architecture="gaussian", random_state=0).fit(x)
        >>> float(model.residuals(x, random_state=0).std().round(1))
        1.0
        """
        rows = self._rows(X, context)
        return self.density_.joint.residuals(rows, random_seed(random_state))

    def inverse_transform(self, X: Any, context: Any = None) -> Any:
        """Return the rows of latent numbers; ``inverse_transform(transform(X))`` is ``X``."""
        check_is_fitted(self, "density_")
        density = self.density_
        latent = checked_latent(X, len(density.joint.modelled))
        return density.table(density.joint.decode(latent, density.prefix(context)))

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Return the names of the latent numbers."""
        check_is_fitted(self, "density_")
        return np.asarray([f"z_{name}" for name in self.order_], dtype=object)

    # -- outliers --------------------------------------------------------------------------------

    def decision_function(self, X: Any, context: Any = None) -> Array:
        """Return log p(x) − ``offset_``: below 0 for outliers."""
        return self.score_samples(X, context) - self.offset_

    def predict(self, X: Any, context: Any = None) -> NDArray[np.int64]:
        """Return −1 for outliers, a share of ``contamination`` of rows like those of fit, else 1.

        The threshold is that quantile of the log-densities of held-out rows.
        """
        return np.where(self.decision_function(X, context) >= 0, 1, -1)

    # -- files -----------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write one ``.safetensors`` file, which executes nothing when it is read; see :mod:`diffeo.files`.

        The rows are not in it: ``partial_fit`` of a loaded model goes on with new rows alone.
        """
        check_is_fitted(self, "density_")
        parameters = {name: as_python(value) for name, value in self.get_params().items()}
        parameters["first"] = self._first()
        if not isinstance(self.random_state, int | None):
            parameters["random_state"] = None
        whole = isinstance(self.kinds, Schema)  # it is that of the density
        parameters["kinds"] = None if isinstance(self.kinds, Schema) else as_plain(self.kinds)
        names = np.asarray(getattr(self, "feature_names_in_", ())).tolist()
        stored.write(
            self.density_,
            path,
            {"parameters": parameters, "report": self.report_, "names": names, "whole_schema": whole},
        )

    @classmethod
    def load(cls, path: str | PathLike[str]) -> FlowDensity:
        """Return the model that :meth:`save` wrote.

        Raises:
            FileError: the file is none of a FlowDensity, or was changed.
        """
        density, about = stored.read(path)
        try:
            parameters: dict[str, Any] = dict(about["parameters"])
            parameters["first"] = tuple(parameters["first"])
            model = cls(**parameters)
            if about.get("whole_schema"):
                model.kinds = density.schema
            model.report_, names = str(about["report"]), list(about["names"])
        except (KeyError, TypeError) as error:
            raise FileError(f"{str(path)!r} does not describe a FlowDensity: {error!r:.200}.") from error
        model.seen_ = None
        model.n_features_in_ = len(density.schema.columns)
        if names:
            model.feature_names_in_ = np.asarray(names, dtype=object)
        model._judge(density)
        return model

    # -- inside ----------------------------------------------------------------------------------

    def _rows(self, X: Any, context: Any) -> Encoded:
        check_is_fitted(self, "density_")
        return self.density_.rows(checked(self, X, reset=False), context)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = self.max_steps is None
        return tags
