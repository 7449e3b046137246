"""The result of a comparison: a table, a text, a picture, a JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from diffeo.comparison.measuring import Beside, Entry
from diffeo.comparison.rows import Rows
from diffeo.diagnostics.samples import Discrepancy, Energy
from diffeo.friends.protocol import DensityModel


@dataclass(frozen=True)
class Comparison:
    """What models of p(x) reached on the same rows.

    Attributes:
        rows: what was trained on and what was held out.
        entries: one for each model and seed.
        reference: what the data themselves would reach.
        time_budget: seconds that each model trained for.
        models: the fitted models by name, of the first seed.

    >>> from diffeo.comparison import compare
    >>> result = compare("moons", ["gaussian"], rows=300)
    >>> sorted(result.models), "moons" in str(result)
    (['Gaussian'], True)
    """

    rows: Rows
    entries: tuple[Entry, ...]
    reference: Entry
    time_budget: float
    models: Mapping[str, DensityModel] = field(repr=False)

    @property
    def names(self) -> list[str]:
        """Return the models' names."""
        return list(dict.fromkeys(entry.model for entry in self.entries))

    def of(self, model: str) -> list[Entry]:
        """Return the entries of a model that did not fail."""
        return [entry for entry in self.entries if entry.model == model and not entry.failed]

    def __str__(self) -> str:
        from diffeo.comparison.table import as_text

        return as_text(self)

    def __rich__(self) -> Any:
        from diffeo.comparison.table import as_tables

        return as_tables(self)

    def in_words(self) -> str:
        """Return what the figures show, and no more: differences within two standard errors are none."""
        from diffeo.comparison.words import in_words

        return in_words(self)

    def figure(self, path: str | PathLike[str], models: Sequence[str] | None = None) -> None:
        """Draw data and models side by side: structure, density where there is one, samples, latent.

        Args:
            path: the picture to write (.png, .pdf, .svg, …).
            models: which; None for flow, VAE and GAN, or the first three where none of these took part.

        Raises:
            ConfigError: a model is named that took no part, or the extension is none of a picture.
        """
        from diffeo.comparison.picture import draw

        draw(self, path, models)

    def facts(self) -> dict[str, Any]:
        """Return everything measured, in plain JSON values; what was not, or is infinite, is None."""
        return {
            "data": self.rows.name,
            "rows": {"train": len(self.rows.train), "held_out": len(self.rows.held)},
            "event": list(self.rows.event),
            "columns": list(self.rows.columns),
            "notes": list(self.rows.notes),
            "time_budget": self.time_budget,
            "entries": [facts_of(entry) for entry in self.entries],
            "reference": facts_of(self.reference),
            "in_words": self.in_words(),
        }

    def to_json(self) -> str:
        """Return :meth:`facts` as text."""
        return json.dumps(self.facts(), ensure_ascii=False, allow_nan=False, indent=1)


def facts_of(entry: Entry) -> dict[str, Any]:
    """Return an entry in plain JSON values."""
    beside = entry.beside
    facts = {
        "model": entry.model,
        "seed": entry.seed,
        "density": entry.density,
        "described": entry.described,
        "held_out_nats": entry.nats,
        "held_out_error": entry.error,
        "no_density": entry.no_density,
        **({} if beside is None else _beside(beside)),
        "bad_draws": entry.bad_draws,
        "time_budget": entry.budget,
        "fit_seconds": entry.fit_seconds,
        "score_seconds_a_row": entry.score_seconds,
        "sample_seconds_a_row": entry.sample_seconds,
        "parameters": entry.n_parameters,
        "failed": entry.failed,
    }
    return {name: _plain(value) for name, value in facts.items()}


def _beside(beside: Beside) -> dict[str, Any]:
    classifier, regions, copies = beside.classifier, beside.regions, beside.memorisation
    figures = zip(("precision", "recall", "density", "coverage"), regions.errors, strict=True)
    return {
        "classifier": {
            "accuracy": classifier.accuracy,
            "accuracy_error": classifier.accuracy_error,
            "auc": classifier.auc,
            "auc_error": classifier.auc_error,
            "p_value": classifier.p_value,
        },
        "mmd_squared": _tested(beside.mmd.squared, beside.mmd),
        "energy_distance": _tested(beside.energy.value, beside.energy),
        "regions": {name: {"value": getattr(regions, name), "error": error} for name, error in figures},
        "memorisation": copies and {
            "nearest_is_training_row": copies.share,
            "by_chance": copies.expected,
            "error": copies.error,
            "p_value": copies.p_value,
            "distance_ratio": copies.ratio,
        },
    }  # fmt: skip


def _tested(value: float, found: Discrepancy | Energy) -> dict[str, float]:
    return {"value": value, "error": found.error, "p_value": found.p_value}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
