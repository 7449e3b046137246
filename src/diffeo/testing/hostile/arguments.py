"""Hostile arguments: what constructors and options are given that they cannot mean."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributions as td
from torch import nn

from diffeo import bijections, conditioners, distributions, files, friends, laws
from diffeo.flows import NICE, Flow, RealNVP
from diffeo.tables import Architecture, NumericColumn, NumericSchema, TableModel, table_training
from diffeo.testing.hostile.entry import Entry
from diffeo.testing.hostile.subjects import plain_flow, refused, table_model, tensor

Make = Callable[..., Any]

_NOT_SIZES: tuple[Any, ...] = (0, -1, 2.0, math.nan, math.inf, "3", None, True, (0,), (2, -1), [2, 2.5], ())
_NOT_COUNTS: tuple[Any, ...] = (0, -1, 2.5, math.nan, math.inf, "3", None, True, [2])
_NOT_HIDDEN: tuple[Any, ...] = (
    0,
    -1,
    16,
    (0,),
    (-4,),
    (8, 2.5),
    ("8",),
    "8",
    None,
    (True,),
    (math.nan,),
    8.0,
)
_NOT_NAMES: tuple[Any, ...] = ("rel", "SILU ", "", None, 3, "swish", nn.ReLU)
_NOT_BOUNDS: tuple[Any, ...] = (0, -1.0, math.nan, math.inf, "2", None, True, [1.0])
_NOT_SHARES: tuple[Any, ...] = (-0.1, 1.0, 1.5, math.nan, math.inf, "0.1", None, True)
_NOT_NUMBERS: tuple[Any, ...] = (math.nan, math.inf, -math.inf, "0", None, [0.0])
_NOT_FLAGS: tuple[Any, ...] = ("yes", None, 1, 0.5)


def argument_entries(seed: int = 0) -> Iterator[Entry]:
    """Yield the entries of hostile arguments."""
    for owner, make, argument, values in (*_parts(), *_networks(), *_flows(), *_others()):
        for value in values:
            received = _repeated(value)
            call = partial(make, **{argument: value})
            yield refused(
                f"{owner}({argument}={_shown(value)})", "arguments", call, rf"\b{argument}\b", received
            )
    for argument, values in _TRAINING.items():
        for value in values:
            call = partial(table_training, **{argument: value})
            name = f"TrainConfig({argument}={_shown(value)})"
            yield refused(name, "arguments", call, rf"\b{argument}\b", _repeated(value))
    for name, (call, argument, received) in _calls().items():
        yield refused(name, "arguments", call, argument, received)


def _repeated(value: Any) -> str:
    """Return what a message may repeat of a value: itself, an element at fault, or its type."""
    found = [re.escape(_shown(value)), re.escape(repr(value)), rf"\ba {re.escape(type(value).__name__)}\b"]
    if isinstance(value, list | tuple):
        found += [rf"={re.escape(repr(item))} " for item in value]
    return "|".join(found)


def _shown(value: Any) -> str:
    """Return what a message repeats of a value: itself, or its class where it is an object."""
    if value is None or isinstance(value, str | int | float | list | tuple):
        return repr(value)
    return value.__name__ if isinstance(value, type) else type(value).__name__


def _mlp(**changed: Any) -> Any:
    return conditioners.MLP(**{"in_features": 2, "out_features": 2, "n_params": 2, **changed})


def _residual(**changed: Any) -> Any:
    return conditioners.ResidualMLP(**{"in_features": 2, "out_features": 2, "n_params": 2, **changed})


def _coupling(**changed: Any) -> Any:
    network = conditioners.MLP(1, 1, n_params=2, hidden=(4,))
    mask = bijections.Mask.halves(2)
    return bijections.Coupling(**{"law": laws.Affine(), "conditioner": network, "mask": mask, **changed})


def _flow(**changed: Any) -> Any:
    return Flow(**{"base": distributions.StandardNormal(2), "bijection": bijections.Scale(2), **changed})


def _mask(**changed: Any) -> Any:
    given: dict[str, Any] = {"kind": "halves", "shape": (4,), **changed}
    return bijections.Mask(**given)


def _parts() -> Iterator[tuple[str, Make, str, tuple[Any, ...]]]:
    sized: dict[str, Make] = {
        "StandardNormal": distributions.StandardNormal,
        "StandardLogistic": distributions.StandardLogistic,
        "DiagonalNormal": distributions.DiagonalNormal,
        "Uniform": distributions.Uniform,
        "Scale": bijections.Scale,
        "bijections.Affine": bijections.Affine,
        "ActNorm": bijections.ActNorm,
        "BatchNorm": bijections.BatchNorm,
        "Standardize": bijections.Standardize,
    }
    for name, make in sized.items():
        yield name, make, "features", _NOT_SIZES
    yield "Whiten", bijections.Whiten, "features", _NOT_COUNTS
    for network in (_mlp, _residual):
        name = "MLP" if network is _mlp else "ResidualMLP"
        for argument in ("in_features", "out_features", "context"):
            yield (
                name,
                network,
                argument,
                _NOT_COUNTS[1:],
            )
        yield name, network, "n_params", _NOT_COUNTS
        yield name, network, "activation", _NOT_NAMES
        yield name, network, "dropout", _NOT_SHARES
    yield "MLP", _mlp, "hidden", _NOT_HIDDEN
    yield "ResidualMLP", _residual, "width", _NOT_COUNTS
    yield "ResidualMLP", _residual, "blocks", (-1, 2.5, math.nan, "2", None, True)
    yield "laws.Affine", laws.Affine, "bound", (*_NOT_BOUNDS, 21.0)
    for name, make in (("Scale", bijections.Scale), ("bijections.Affine", bijections.Affine)):
        yield name, partial(make, 2), "bound", _NOT_BOUNDS
    yield "BatchNorm", partial(bijections.BatchNorm, 2), "momentum", (0, -0.1, 1.5, math.nan, "0.1", None)
    yield "BatchNorm", partial(bijections.BatchNorm, 2), "eps", (0, -1e-5, 1.0, math.nan, "1e-5", None)
    yield "Standardize", partial(bijections.Standardize, 2), "method", ("robuts", "", None, 1)
    yield "Whiten", partial(bijections.Whiten, 2), "method", ("PCA", "ica", None, 1)
    yield "Whiten", partial(bijections.Whiten, 2), "floor", (0, 1, -1e-3, math.nan, "0", None)
    yield "Log", bijections.Log, "shift", _NOT_NUMBERS
    yield "Log", bijections.Log, "event_ndim", _NOT_COUNTS
    yield "Logit", bijections.Logit, "event_ndim", _NOT_COUNTS
    yield "Logit", bijections.Logit, "low", (*_NOT_NUMBERS, 1.0, 2.0)
    yield "Logit", bijections.Logit, "high", (*_NOT_NUMBERS, 0.0, -1.0)
    yield "Logit", bijections.Logit, "alpha", (-0.1, 0.5, 1.0, math.nan, "0", None)
    yield "Identity", bijections.Identity, "event_ndim", _NOT_COUNTS
    yield "Inverse", bijections.Inverse, "bijection", (None, "Scale", nn.Linear(2, 2), bijections.Scale)
    orders = ([], [0, 0], [1, 2], [0, 2], [0.0, 1.0], "01", None, 2, [[0, 1]])
    yield "Permutation", bijections.Permutation, "order", orders
    yield "Permutation.random", bijections.Permutation.random, "features", _NOT_COUNTS
    yield "Permutation.random", partial(bijections.Permutation.random, 3), "seed", (-1, 0.5, "0", None)
    yield "Permutation.reverse", bijections.Permutation.reverse, "features", _NOT_COUNTS
    yield "Uniform", partial(distributions.Uniform, 2), "low", (*_NOT_NUMBERS, 1.0)
    yield "Uniform", partial(distributions.Uniform, 2), "high", (*_NOT_NUMBERS, 0.0)
    bases = (None, "Normal", 3, nn.Linear(2, 2), td.Normal, td.Poisson(1.0), td.Categorical(torch.ones(2)))
    yield "Wrapped", distributions.Wrapped, "distribution", bases
    yield "Mask", _mask, "kind", ("half", "alternate", "", None, 3)
    yield "Mask", _mask, "shape", (None, "4", (0,), (-2,), (2.0,), (2, 2), ())
    yield "Mask", _mask, "flip", _NOT_FLAGS
    for kind in ("halves", "alternating"):
        yield f"Mask.{kind}", getattr(bijections.Mask, kind), "features", _NOT_COUNTS
    for kind in ("checkerboard", "channelwise"):
        shapes = (None, 3, (3, 4), (3, 0, 4), (3, 4, -4), "344", (1.5, 2, 2))
        yield f"Mask.{kind}", getattr(bijections.Mask, kind), "shape", shapes


def _flows() -> Iterator[tuple[str, Make, str, tuple[Any, ...]]]:
    for name, make in (("NICE", NICE), ("RealNVP", RealNVP)):
        small = partial(make, features=2, couplings=2, hidden=(4,))
        yield name, small, "features", _NOT_COUNTS
        yield name, small, "context", (-1, 2.5, math.nan, "3", None, True)
        yield name, small, "couplings", _NOT_COUNTS
        yield name, small, "hidden", _NOT_HIDDEN
        yield name, small, "activation", _NOT_NAMES
        yield name, small, "mask", ("alternatign", "checkerboard", "", None, 2)
        yield name, small, "base", ("normal", 3, distributions.StandardNormal, td.Normal(0.0, 1.0))
    small = partial(RealNVP, 2, couplings=2, hidden=(4,))
    yield "RealNVP", small, "bound", _NOT_BOUNDS
    yield "RealNVP", small, "dropout", _NOT_SHARES
    yield "RealNVP", small, "batch_norm", _NOT_FLAGS
    yield "Flow", _flow, "base", (None, "normal", td.Normal(0.0, 1.0), nn.Linear(2, 2))
    yield "Flow", _flow, "bijection", (None, "scale", nn.Linear(2, 2), bijections.Scale)
    yield "Flow.then", plain_flow().then, "bijection", (None, "scale", nn.Linear(2, 2), bijections.Scale)
    shapes = (-1, 2.5, None, "3", (2, -1), (2.0,), math.nan, True, {2})
    for operation in ("sample", "rsample", "sample_and_log_prob"):
        yield f"Flow.{operation}", getattr(plain_flow(), operation), "shape", shapes
    generators = (0, "seed", np.random.default_rng(0))
    yield "Flow.sample", partial(plain_flow().sample, (2,)), "generator", generators


def _others() -> Iterator[tuple[str, Make, str, tuple[Any, ...]]]:
    yield "Coupling", _coupling, "law", (None, "affine", laws.Affine)
    yield "Coupling", _coupling, "conditioner", (None, nn.Linear(1, 2), "mlp", conditioners.MLP)
    yield "Coupling", _coupling, "mask", (None, "halves", [0.5, 1.0], [1, 0], 3)
    yield "Architecture", Architecture, "flow", ("realnvq", "", None, RealNVP)
    yield "Architecture", Architecture, "couplings", (0, -1, 2.5, math.nan, "3", True)
    yield "Architecture", Architecture, "hidden", ((0,), (-4,), (8, 2.5), "8", 8, (True,))
    yield "TableModel.sample", table_model().sample, "n", (-1, 2.5, math.nan, "3", None, True)
    yield "TableModel.sample", partial(table_model().sample, 3), "seed", (0.5, "0", None, -(2**70))
    yield "NumericColumn", NumericColumn, "name", (None, 3, b"a")
    yield "Gaussian", friends.Gaussian, "floor", (0, -1.0, 1.0, math.nan, "0", None)
    yield "KernelDensity", friends.KernelDensity, "bandwidths", (0, -1, 2.5, math.nan, "3", None)
    yield "KernelDensity", friends.KernelDensity, "folds", (1, 0, 2.5, math.nan, "3", None)
    yield "GaussianMixture", friends.GaussianMixture, "components", ((), (0,), (-1,), (1.5,), None, 3, "1")
    yield "GaussianMixture", friends.GaussianMixture, "covariances", ((), ("fulll",), None, "full", (3,))
    yield "GaussianMixture", friends.GaussianMixture, "seed", (-1, 0.5, "0", None)
    yield "GaussianCopula", friends.GaussianCopula, "kernels", (1, -1, 2.5, math.nan, "3", None)
    yield "GaussianCopula", friends.GaussianCopula, "shrinkage", (0, -1.0, 1.5, math.nan, "0", None)
    yield "VAE", friends.VAE, "latent", (0, -1, 2.5, math.nan, "3", True)
    yield "VAE", friends.VAE, "hidden", ((0,), (-4,), (8, 2.5), "8", 8, (True,))
    yield "VAE", friends.VAE, "floor", (0, -1.0, 1.5, math.nan, "0", None)
    yield "VAE", friends.VAE, "draws", (0, -1, 2.5, math.nan, "3", None)
    yield "VAE", friends.VAE, "prior", ("RealNVP", 3, friends.VAE)
    yield "VAE", friends.VAE, "posterior", ("RealNVP", 3, friends.VAE)
    yield "GAN", friends.GAN, "latent", (0, -1, 2.5, math.nan, "3", None)
    yield "GAN", friends.GAN, "penalty", (-1.0, math.nan, "0")
    yield "GAN", friends.GAN, "averaging", (1, -0.5, math.nan, "0", None)
    yield "GAN", friends.GAN, "learning_rate", (0, -1.0, math.nan, "0", None)


_TRAINING: dict[str, tuple[Any, ...]] = {
    "max_epochs": (0, -1, 2.5, math.nan, math.inf, "3", True),
    "max_steps": (0, -1, 2.5, math.nan, math.inf, "3", True),
    "batch_size": (0, 1, -1, 2.5, math.nan, "3", True),
    "learning_rate": (0, -1e-3, math.nan, math.inf, "1e-3", True),
    "weight_decay": (-1e-3, math.nan, math.inf, "0", None, True),
    "warmup": _NOT_SHARES,
    "clip_norm": (0, -1.0, math.nan, math.inf, "5", True),
    "patience": (0, -1, 2.5, math.nan, "3", True),
    "min_delta": (-1e-3, math.nan, math.inf, "0", None, True),
    "evaluate_every": (0, -1, 2.5, math.nan, "3", True),
    "averaging": _NOT_SHARES,
    "noise": (-0.1, math.nan, math.inf, "0", None, True),
    "seed": (-1, 0.5, math.nan, "0", None, True),
    "device": ("gpu", "cuda:99", "", None, 0, "meta", "tpu"),
    "time_budget": (0, -1, math.nan, math.inf, "60", True),
    "max_bad_steps": (-1, 2.5, math.nan, "3", None, True),
    "checkpoint_every": (0, -1, 2.5, math.nan, "3", None, True),
}


def _networks() -> Iterator[tuple[str, Make, str, tuple[Any, ...]]]:
    made: dict[str, Make] = {
        "Transformer": partial(conditioners.Transformer, in_features=2, out_features=2),
        "CausalTransformer": partial(conditioners.CausalTransformer, features=2),
        "ResidualCNN": partial(conditioners.ResidualCNN, shape=(1, 2, 2)),
    }
    for network in (conditioners.MaskedMLP, conditioners.CausalTransformer):
        name, make = network.__name__, partial(network, 2, 2)
        yield (
            name,
            make,
            "order",
            ("random", "", 2, None, [0, 0], [0, 1, 2], [0, None], ["a", "b"], math.nan),
        )
    for name, bare in made.items():
        make = partial(bare, n_params=2)
        yield name, bare, "n_params", _NOT_COUNTS
        yield name, make, "context", _NOT_COUNTS[1:]
        yield name, make, "activation", _NOT_NAMES
        yield name, make, "dropout", _NOT_SHARES
        yield name, make, "width", (*_NOT_COUNTS, 7)
        if name == "ResidualCNN":
            yield name, make, "kernel", (*_NOT_COUNTS, 2)
            yield name, make, "weight_norm", _NOT_FLAGS
            yield name, make, "shape", (3, (), (3, 4), (1, 0, 2), (1, 2, 2.5), (1, True, 2), "28", None)
        else:
            yield name, make, "heads", (*_NOT_COUNTS, 3)
            yield name, make, "blocks", _NOT_COUNTS


def _calls() -> dict[str, tuple[Callable[[], Any], str, str]]:
    """Return calls whose arguments do not fit each other, with what the message must say."""
    b, small = bijections, partial(conditioners.MLP, hidden=(4,))
    wide, flow = small(2, 1, n_params=2), plain_flow()
    schema = NumericSchema((NumericColumn("a"), NumericColumn("b")))
    three = NumericSchema((*schema.columns, NumericColumn("c")))
    image = distributions.StandardNormal((1, 2, 2))
    save, load, make_schema = _untyped(flow.save), _untyped(files.load), _untyped(NumericSchema)
    return {
        "Chain()": (b.Chain, "bijections", "empty"),
        "Chain(None)": (partial(b.Chain, None), r"bijections\[0\]", "NoneType"),
        "Chain([…])": (partial(b.Chain, [b.Scale(2)]), r"bijections\[0\]", "list"),
        "Chain(Scale, Linear)": (partial(b.Chain, b.Scale(2), nn.Linear(2, 2)), "bijections", "Linear"),
        "Chain of vectors and images":
            (partial(b.Chain, b.Scale(2), b.Scale((1, 2, 2))), "event_ndim", "3"),
        "a conditioner too wide": (partial(_coupling, conditioner=wide), "in_features", "2"),
        "a conditioner of one parameter for the affine law":
            (partial(_coupling, conditioner=small(1, 1, n_params=1)), "n_params", "1"),
        "a conditioner for another mask":
            (partial(_coupling, conditioner=small(1, 2, n_params=2)), "out_features", "2"),
        "a network of another image":
            (
                partial(
                    _coupling,
                    conditioner=conditioners.ResidualCNN((1, 2, 2), 2, width=4),
                    mask=b.Mask.checkerboard((1, 4, 2)),
                ),
                "event_shape",
                r"\(1, 2, 2\)",
            ),
        "a mask of 3 for a conditioner of 2":
            (partial(_coupling, mask=b.Mask.halves(3)), "out_features", "1"),
        "a mask that moves nothing":
            (partial(_coupling, mask=[True, True]), "in_features", "1"),
        "a mask without elements": (partial(b.Mask, "given", (2,)), "elements", "None"),
        "a mask of too few elements":
            (partial(b.Mask, "given", (3,), False, (True,)), "elements", r"\(True,\)"),
        "an empty mask": (partial(b.Mask.given, []), "mask", r"\[\]"),
        "a base of 3 under a bijection of 2":
            (partial(_flow, base=distributions.StandardNormal(3)), "base", r"\(3,\)"),
        "a base of images": (partial(_flow, base=image), "base", "3 dimension"),
        "a flow extended by another size": (partial(flow.then, b.Scale(3)), "bijection", r"\(3,\)"),
        "a file name without a folder":
            (partial(save, "/nonexistent/folder/a.safetensors"), "folder", "nonexistent"),
        "a folder as file name": (partial(save, "/"), "'/'", "/"),
        "no file name": (partial(save, None), "path", "NoneType"),
        "a number as file name": (partial(save, 3), "path", "int"),
        "load a number": (partial(load, 3), "path", "int"),
        "load nothing": (partial(load, None), "path", "NoneType"),
        "load an absent file": (partial(load, "/nonexistent.safetensors"), "nonexistent", "No such file"),
        "load a folder": (partial(load, Path("/")), "'/'", "not a regular file"),
        "load a foreign file": (partial(load, __file__), "arguments.py", "bytes"),
        "load onto a device that is none": (partial(_reloaded, "gpu"), "device", "gpu"),
        "NumericSchema of text": (partial(make_schema, ("a", "b")), "columns", "'a'"),
        "NumericSchema of nothing": (partial(make_schema, ()), "columns", r"\(\)"),
        "NumericSchema, a name twice": (partial(make_schema, (NumericColumn("a"),) * 2), "columns", "'a'"),
        "TableModel of three columns, two features":
            (partial(TableModel, three, flow), "flow", r"\(2,\)"),
        "TableModel of a dict": (partial(TableModel, {"a": 1}, flow), "schema", "dict"),
        "TableModel of a bijection": (partial(TableModel, schema, flow.bijection), "flow", "Chain"),
        "a flow with a lambda": (partial(_mlp, activation=math.sin), "activation", "sin"),
        "a single row in training mode": (_one_row_in_training, "x", "1 row"),
        "initialise from NaN": (_initialised_from_nan, "x", r"\(4, 2\)"),
        "a batch shape that a distribution does not expand to":
            (partial(flow.distribution().expand((2,)).expand, (3,)), "batch_shape", r"\(3,\)"),
    }  # fmt: skip


def _untyped(function: Any) -> Any:
    return function


def _reloaded(device: str) -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.safetensors"
        plain_flow().save(path)
        return files.load(path, device)


def _one_row_in_training() -> Any:
    return RealNVP(2, couplings=1, hidden=(4,)).train().log_prob(tensor(1))


def _initialised_from_nan() -> Any:
    return bijections.Standardize(2).initialise(torch.full((4, 2), math.nan))
