"""Parts that can be named: the constructor of a part *is* its schema.

A model file says what a model is made of, and never how to import it. A class that may appear in one
is registered under a name; when it is constructed, its arguments are captured as plain JSON values
(numbers, strings, booleans, lists and other registered parts). Whatever JSON cannot say, a lambda or a
tensor, is refused there and then, not later when the model is saved.

>>> from diffeo.laws import Affine
>>> to_spec(Affine(bound=1.5))
{'kind': 'laws.Affine', 'args': {'bound': 1.5}}
>>> from_spec({'kind': 'laws.Affine', 'args': {'bound': 1.5}})
Affine(bound=1.5)
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn
from torch.distributions import Distribution

from diffeo.errors import ConfigError, FileError, UnknownKindError, did_you_mean

T = TypeVar("T", bound=type)

#: The folders of this package whose parts can stand in a model file.
_OWN = (
    "laws",
    "conditioners",
    "distributions",
    "bijections",
    "flows",
    "tables",
    "images",
    "friends",
    "estimator",
)

_kinds: dict[str, type] = {}
_names: dict[type, str] = {}


def register(name: str) -> Callable[[T], T]:
    """Register a class under ``name``, so that models made of it can be saved and loaded.

    The class is a frozen dataclass (a law, say) or inherits from :class:`Part` (bijections,
    conditioners, bases and flows do). Registering a second class under a taken name is an error;
    registering the same class again, as a notebook does when a cell is run twice, is not.

    >>> from diffeo.bijections import Bijection
    >>> @register("mylab.Swap")
    ... class Swap(Bijection):
    ...     def forward(self, z, context=None):
    ...         return z.flip(-1), z.new_zeros(z.shape[:-1])
    ...     inverse = forward
    >>> to_spec(Swap())
    {'kind': 'mylab.Swap', 'args': {}}
    """

    def decorate(cls: T) -> T:
        taken = _kinds.get(name)
        if taken is not None and (taken.__module__, taken.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise ConfigError(f"name={name!r} is already registered, for {taken!r}; choose another.")
        _kinds[name] = cls
        _names[cls] = name
        return cls

    return decorate


def register_own() -> None:
    """Import this package's own parts, so that they are registered; no name of a file has a part in it."""
    for folder in _OWN:
        importlib.import_module(f"diffeo.{folder}")


def registered() -> Mapping[str, type]:
    """Return every registered class by its name (a copy)."""
    register_own()
    return dict(_kinds)


def kind_of(part: object) -> str:
    """Return the name under which the class of ``part`` is registered."""
    name = _names.get(type(part))
    if name is None:
        raise ConfigError(
            f"{type(part).__qualname__} is not registered, so a model made of it cannot be saved; "
            f"put @diffeo.register('yourname.{type(part).__name__}') above the class."
        )
    return name


class Part:
    """Captures the arguments of a registered class at construction (the first base of a module)."""

    _config: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make the object and record what it is made from."""
        self = super().__new__(cls)
        if cls in _names:
            signature = _signature(cls)
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                # A wrong call fails in __init__ with Python's own message; copy and pickle call
                # __new__ without arguments and then restore the captured ones.
                return self
            bound.apply_defaults()
            recorded = cls.recorded(dict(bound.arguments))
            if recorded is not None:
                config = {
                    name: _plain(value, f"{cls.__qualname__}({name}=…)") for name, value in recorded.items()
                }
                object.__setattr__(self, "_config", config)
        return self

    @classmethod
    def recorded(cls, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Return the constructor's arguments as a file should hold them; None if no file can.

        A class that accepts richer arguments than JSON has overrides this to name them in plain values
        that its constructor accepts too.
        """
        return arguments

    def extra_repr(self) -> str:
        """Return the arguments that are no parts, for the module's ``repr``.

        >>> from diffeo.bijections import Scale
        >>> Scale(3)
        Scale(features=3, bound=10.0)
        """
        told: dict[str, Any] = getattr(self, "_config", None) or {}
        simple = {name: value for name, value in told.items() if not _holds_part(value)}
        return ", ".join(f"{name}={_short(value)}" for name, value in simple.items())


def _holds_part(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds_part, value))
    return isinstance(value, nn.Module | dict)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 90 else f"{text[:89]}…"


def _signature(cls: type) -> inspect.Signature:
    """Return the signature of the constructor: of ``__init__``, without self."""
    if cls.__init__ is nn.Module.__init__:  # its (*args, **kwargs) take nothing in fact
        return inspect.Signature()
    parameters = list(inspect.signature(cls.__init__).parameters.values())
    return inspect.Signature(parameters[1:])


def _is_part(value: object) -> bool:
    return isinstance(value, Part) or (dataclasses.is_dataclass(value) and type(value) in _names)


def _plain(value: Any, where: str) -> Any:
    """Return ``value`` as JSON would read it back, parts kept as they are; or raise."""
    if value is None or isinstance(value, bool | int | float | str) or _is_part(value):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) and key != "kind" for key in value):
        return {key: _plain(item, where) for key, item in value.items()}
    scalar: Any = value
    if getattr(scalar, "ndim", None) == 0 and hasattr(scalar, "item"):
        return scalar.item()
    remedy = ""
    if isinstance(value, Distribution):
        remedy = " A torch.distributions object goes in as diffeo.distributions.Wrapped(distribution)."
    raise ConfigError(
        f"{where} was given {type(value).__name__} {value!r:.60}, which a model file cannot hold; "
        f"expected numbers, strings, booleans, lists of these, or a registered part.{remedy}"
    )


def _arguments(part: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(part):
        return {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.init}
    recorded = getattr(part, "_config", None)
    if recorded is None:
        raise ConfigError(
            f"this {type(part).__qualname__} holds an object that a model file cannot describe, so a model "
            "made of it cannot be saved; build it from registered parts, or from torch's own classes."
        )
    config: dict[str, Any] = dict(recorded)
    for name, value in config.items():
        # A part that was exchanged after construction (flow.base = …) is saved as it is now.
        live = getattr(part, name, None)
        if _is_part(value) and _is_part(live):
            config[name] = live
    return config


def to_spec(part: Any) -> dict[str, Any]:
    """Return the JSON description of a registered part and all the parts in it."""

    def describe(value: Any) -> Any:
        if _is_part(value):
            return to_spec(value)
        if isinstance(value, list | tuple):
            return [describe(item) for item in value]
        if isinstance(value, dict):
            return {key: describe(item) for key, item in value.items()}
        return value

    kind = kind_of(part)
    return {
        "kind": kind,
        "args": {name: describe(value) for name, value in _arguments(part).items()},
    }


def from_spec(spec: Any) -> Any:
    """Build the part that ``spec`` describes. Only registered classes are ever called."""
    if isinstance(spec, list):
        return [from_spec(item) for item in spec]
    if not isinstance(spec, dict):
        return spec
    if "kind" not in spec:
        return {key: from_spec(item) for key, item in spec.items()}
    kind, args = spec["kind"], spec.get("args", {})
    cls = _kinds.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise UnknownKindError(
            f"kind={kind!r:.100} is not registered in this process.{did_you_mean(str(kind), _kinds)} "
            "If it is a class of yours or of a plugin, import the module that registers it first."
        )
    if not isinstance(args, dict):
        raise FileError(f"the arguments of {kind!r} are {type(args).__name__}; expected an object.")
    values = {name: from_spec(value) for name, value in args.items()}
    positional: list[Any] = []
    for name, parameter in _signature(cls).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            positional = list(values.pop(name, []))
    try:
        return cls(*positional, **values)
    except (TypeError, ConfigError) as error:
        raise FileError(f"{kind!r} cannot be built from its recorded arguments: {error}") from error
