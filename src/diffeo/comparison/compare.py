"""``diffeo.compare``: models of p(x) side by side, on the same rows, in equal time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from diffeo.comparison.contenders import Contender, chosen
from diffeo.comparison.given import rows_of
from diffeo.comparison.measuring import Entry, measured, reference
from diffeo.comparison.progress import Show, Step, shown
from diffeo.comparison.result import Comparison
from diffeo.errors import ConfigError, at_least, number
from diffeo.friends.protocol import DensityModel


def compare(
    x: Any,
    models: Any = None,
    *,
    time_budget: float = 20.0,
    seeds: int | Sequence[int] = 1,
    rows: int | None = None,
    held_out: float = 0.3,
    progress: bool | Show | None = None,
) -> Comparison:
    """Fit several models of p(x) to the same rows, and measure them on the same held-out rows.

    Held-out nats are compared where there is a density; draws beside held-out rows by a classifier, MMD,
    energy distance, precision and recall; draws beside training rows by their nearest neighbours. Beside
    the models stands what the data themselves would reach: a toy's exact density and fresh draws, or
    training rows in place of draws.

    Args:
        x: a toy's name (:data:`diffeo.toys.TOYS`), "digits", the path of a table, an array (rows, columns)
            or of images (rows, channels, height, width), or a frame. Columns that are no numbers and rows
            with holes are left out, whole and rounded numbers dequantised by the same noise for all; the
            result's notes name them.
        models: names among "flow", "vae", "gan", "flowdensity", "gaussian", "mixture", "kernel", "copula";
            any :class:`diffeo.friends.DensityModel`, or a function of a seed that makes one; or a mapping
            of names to these. None for all the names.
        time_budget: seconds that each model trains for. Closed forms and searches of known length
            (Gaussian, mixture, kernel, copula) take what they need, and the table says so.
        seeds: how many, or which: each model is fitted once for each. The rows held out are the same.
        rows: rows to use, at most (of a toy, to draw; 5,000 if not given), those held out included.
        held_out: the share of rows held out.
        progress: a function that is told of each :class:`~diffeo.comparison.Step`, or whether to draw a
            bar; None draws one on a terminal.

    Returns:
        The table: ``print`` it; ``in_words``, ``figure``, ``to_json`` and ``models`` have the rest.

    Raises:
        ConfigError: an argument is not allowed, or a name not known.
        DataError: the data cannot be compared on; the columns are named.

    >>> result = compare("moons", ["gaussian"], rows=300)
    >>> [entry.model for entry in result.entries], result.reference.model
    (['Gaussian'], 'the truth')
    """
    number("time_budget", time_budget, above=0)
    number("held_out", held_out, above=0, below=1)
    at_least("rows", rows, 1, optional=True)
    numbers = _seeds(seeds)
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise ConfigError(f"progress={progress!r:.60} must be True, False, None or a function of a step.")
    contenders = chosen(models)
    data = rows_of(x, most=rows, share=held_out)
    entries: list[Entry] = []
    fitted: dict[str, DensityModel] = {}
    with shown(progress) as show:
        total = len(contenders) * len(numbers)
        for contender in contenders:
            for seed in numbers:
                tell = _teller(show, contender, seed, len(entries), total)
                tell("fitting")
                entry, model = measured(contender, data, seed, float(time_budget), tell)
                entries.append(entry)
                if model is not None:
                    fitted.setdefault(entry.model, model)
    return Comparison(data, tuple(entries), reference(data), float(time_budget), fitted)


def _teller(show: Show, contender: Contender, seed: int, done: int, total: int) -> Callable[[str], None]:
    def tell(text: str) -> None:
        show(Step(contender.name, seed, done, total, text))

    return tell


def _seeds(seeds: Any) -> list[int]:
    if isinstance(seeds, int):
        at_least("seeds", seeds, 1)
        return list(range(seeds))
    if not isinstance(seeds, list | tuple | range) or not len(seeds):
        raise ConfigError(f"seeds={seeds!r:.60} must be a whole number of at least 1, or a list of seeds.")
    for seed in seeds:
        at_least("seeds", seed, 0)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds={seeds!r:.60} names one twice; expected different ones.")
    return list(seeds)
