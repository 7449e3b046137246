"""Which models are compared: those of diffeo by name, and the user's own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffeo import friends
from diffeo.comparison.flows import ChosenDensity, SingleFlow
from diffeo.comparison.rows import Rows
from diffeo.errors import ConfigError, one_of
from diffeo.friends.protocol import DensityModel

#: A model of a seed, for rows of some shape.
Make = Callable[[int, Rows], DensityModel]


@dataclass(frozen=True)
class Contender:
    """A model that takes part.

    Attributes:
        name: as the table shows it.
        make: the model of a seed.
        budgeted: it trains by steps, for the budget; others take what they need.
        images: it takes images as they are; others see their pixels in a row.
    """

    name: str
    make: Make
    budgeted: bool = True
    images: bool = False


def _flow(seed: int, rows: Rows) -> DensityModel:
    return SingleFlow(seed)


def _chosen(seed: int, rows: Rows) -> DensityModel:
    return ChosenDensity(seed)


def _vae(seed: int, rows: Rows) -> DensityModel:
    return friends.VAE(seed=seed)


def _gan(seed: int, rows: Rows) -> DensityModel:
    return friends.GAN(seed=seed)


def _copula(seed: int, rows: Rows) -> DensityModel:
    return friends.GaussianCopula()


def _gaussian(seed: int, rows: Rows) -> DensityModel:
    return friends.Gaussian()


def _mixture(seed: int, rows: Rows) -> DensityModel:
    return friends.GaussianMixture(seed=seed)


def _kernel(seed: int, rows: Rows) -> DensityModel:
    return friends.KernelDensity()


#: The models of diffeo, by the name that chooses them.
CONTENDERS: Mapping[str, Contender] = {
    "flow": Contender("flow", _flow),
    "vae": Contender("VAE", _vae, images=True),
    "gan": Contender("GAN", _gan, images=True),
    "flowdensity": Contender("FlowDensity", _chosen),
    "gaussian": Contender("Gaussian", _gaussian, budgeted=False),
    "mixture": Contender("Gaussian mixture", _mixture, budgeted=False),
    "kernel": Contender("kernel density", _kernel, budgeted=False),
    "copula": Contender("Gaussian copula", _copula, budgeted=False),
}


def chosen(models: Any) -> list[Contender]:
    """Return the contenders that ``models`` names: None for all of diffeo's.

    Args:
        models: names of :data:`CONTENDERS`, models of one's own (a copy is fitted for each seed), or
            functions that make one of a seed; or a mapping of names to models.

    Raises:
        ConfigError: a name is not known, or an object is no :class:`diffeo.friends.DensityModel`.

    >>> [one.name for one in chosen(["flow", "gaussian"])]
    ['flow', 'Gaussian']
    """
    if models is None:
        return list(CONTENDERS.values())
    if isinstance(models, str):
        models = [models]
    if isinstance(models, Mapping):
        found = [_own(str(name), model) for name, model in models.items()]
    elif isinstance(models, Sequence) and models:
        found = [_one(model) for model in models]
    else:
        raise ConfigError(
            f"models is {models!r:.60}; expected a list of names ({', '.join(CONTENDERS)}) and models."
        )
    if not found:
        raise ConfigError("models is empty; expected at least one model: name some.")
    return _named_apart(found)


def _one(model: Any) -> Contender:
    if isinstance(model, str):
        one_of("models", model, CONTENDERS)
        return CONTENDERS[model]
    return _own(str(getattr(model, "name", getattr(model, "__name__", type(model).__name__))), model)


def _own(name: str, model: Any) -> Contender:
    if isinstance(model, str):
        one_of(f"models[{name!r}]", model, CONTENDERS)
        known = CONTENDERS[model]
        return Contender(name, known.make, known.budgeted, known.images)
    if isinstance(model, DensityModel) and not isinstance(model, type):
        return Contender(name, _Copies(model), images=True)
    if isinstance(model, type):
        raise ConfigError(
            f"models has the class {model.__name__}; expected a model: pass {model.__name__}(), or a "
            "function of a seed that makes one."
        )
    if callable(model) and not isinstance(model, DensityModel):
        return Contender(name, _Made(name, model), images=True)
    members = ("name", "density", "n_parameters", "fit", "sample", "log_prob", "describe", "save")
    lacking = [member for member in members if not hasattr(model, member)]
    raise ConfigError(
        f"models has {name!r:.60}, a {type(model).__name__} that is no model: it lacks {lacking}; expected "
        "a diffeo.friends.DensityModel, or a function of a seed that makes one."
    )


@dataclass(frozen=True)
class _Copies:
    """A model as it is, for every seed."""

    model: DensityModel

    def __call__(self, seed: int, rows: Rows) -> DensityModel:
        return copy.deepcopy(self.model)


@dataclass(frozen=True)
class _Made:
    """A model that a function of the seed makes."""

    name: str
    function: Callable[[int], Any]

    def __call__(self, seed: int, rows: Rows) -> DensityModel:
        model = self.function(seed)
        if not isinstance(model, DensityModel):
            raise ConfigError(
                f"models: the function {self.name!r:.60} made a {type(model).__name__}; expected a "
                "diffeo.friends.DensityModel, with fit, sample, log_prob, density, …."
            )
        return model


def _named_apart(found: list[Contender]) -> list[Contender]:
    """Return the contenders, the second of one name called "name (2)"."""
    seen: dict[str, int] = {}
    apart: list[Contender] = []
    for one in found:
        seen[one.name] = seen.get(one.name, 0) + 1
        name = one.name if seen[one.name] == 1 else f"{one.name} ({seen[one.name]})"
        apart.append(Contender(name, one.make, one.budgeted, one.images))
    return apart
