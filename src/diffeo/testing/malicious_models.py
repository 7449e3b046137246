"""Model files whose digest is right and whose description is not: names, sizes, nesting, tensors."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffeo.bijections import ActNorm, Chain, Permutation
from diffeo.distributions import StandardNormal
from diffeo.files import container, save
from diffeo.flows import Flow
from diffeo.testing.malicious import packed, small_flow

#: Names that a loader which looks names up would find something under.
_DOTTED = (
    "os.system", "posix.system", "builtins.eval", "builtins.exec", "builtins.__import__",
    "subprocess.Popen", "pickle.loads", "torch.load", "torch.nn.Linear", "diffeo.files.load", "diffeo.load",
    "__import__('os').system", "../../evil", "flows.Flow\0", "flows", "", "NICE", "laws.affine",
)  # fmt: skip


def model_about(flow: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a model file says (without its digest) and its tensors, to be changed and written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save(flow, path)
        about, _ = container.read_header(path)
        tensors = container.read_tensors(path, about)
    return {key: value for key, value in about.items() if key != "digest"}, tensors


def malicious_models(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write the files into ``folder`` one by one; yield what each is, and its path.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(list(malicious_models(Path(folder)))) > 100
    True
    """
    about, tensors = model_about(small_flow())
    descriptions = {
        **{f"format {value!r}": {**about, "format": value} for value in _FORMATS},
        **{f"model {str(value)[:40]}": {**about, "model": value} for value in _MODELS},
        **{f"kind {kind!r:.30}": {**about, "model": _part(kind)} for kind in _kinds()},
        **{f"base {name}": _with_base(about, part) for name, part in _bases().items()},
        **{f"layers {name}": _with_layers(about, parts) for name, parts in _layers().items()},
        **{f"network with {args}": _with_network(about, args) for args in _NETWORKS},
        "without a format": {key: value for key, value in about.items() if key != "format"},
        "without a model": {key: value for key, value in about.items() if key != "model"},
    }
    number = 0
    for name, content in descriptions.items():
        path = folder / f"model-{(number := number + 1)}.safetensors"
        container.write(path, tensors, content)
        yield f"description: {name}", path
    for name, content in _tensors(tensors).items():
        path = folder / f"model-{(number := number + 1)}.safetensors"
        container.write(path, content, about)
        yield f"tensors: {name}", path
    yield from _about_integers(folder)
    yield from _large(folder, about)
    yield from _deep(folder, about)


def _part(kind: Any, /, **args: Any) -> dict[str, Any]:
    return {"kind": kind, "args": args}


_FORMATS: tuple[Any, ...] = (2, 10**9, 10**400, 0, -1, "1", 1.0, True, None, [1], {})

_MODELS: tuple[Any, ...] = (
    None, 5, "flows.Flow", [], {}, {"args": {}}, {"kind": "flows.Flow"},
    {"kind": "flows.Flow", "args": []}, {"kind": "flows.Flow", "args": None},
    {"kind": "flows.Flow", "args": {}}, {"tables": _part("bijections.Identity")},
    [_part("bijections.Identity")], _part("laws.Affine"), _part("tables.Column", name="a"),
    _part("bijections.Mask", kind="halves", shape=[2]), _part("flows.Flow", base=1, bijection=2),
    _part("bijections.Identity", self=1), _part("bijections.Identity", __class__="os.system"),
)  # fmt: skip


def _kinds() -> list[Any]:
    return [
        *_DOTTED,
        "elsewhere.Swap",
        "plug.in.Part",
        "x" * 10**6,
        None,
        5,
        True,
        ["flows.Flow"],
        {"a": 1},
    ]


_NETWORKS: tuple[dict[str, Any], ...] = (
    {"hidden": [10**9]}, {"hidden": [2**40, 2**40]}, {"hidden": [10**6, 10**6]}, {"hidden": [-1]},
    {"hidden": [0]}, {"hidden": 4}, {"hidden": "4"}, {"hidden": [4.0]}, {"hidden": [True]},
    {"hidden": [[4]]}, {"hidden": None}, {"hidden": [4] * 30_000}, {"in_features": -1},
    {"in_features": 2**62}, {"in_features": "1"}, {"in_features": 1.5}, {"out_features": -2},
    {"n_params": 0}, {"n_params": 10**9},
    {"context": -1}, {"context": 10**6}, {"activation": "__import__"}, {"activation": 5},
    {"activation": "exec" * 10**5}, {"dropout": 2.0}, {"dropout": -1}, {"dropout": "half"},
    {"unknown": 1}, {"in_features": _part("laws.Affine")}, {"hidden": {"a": 4}},
)  # fmt: skip


def _bases() -> dict[str, Any]:
    tensor = {"tensor": [0.0, 0.0, 0.0], "dtype": "float32"}
    column = {"tensor": [[0.0]] * 20_000, "dtype": "float32"}
    row = {"tensor": [[1.0] * 20_000], "dtype": "float32"}

    def wrapped(name: Any, **args: Any) -> dict[str, Any]:
        return _part("distributions.Wrapped", distribution={"class": name, "args": args})

    def of_dtype(dtype: Any) -> dict[str, Any]:
        return wrapped("Normal", loc={**tensor, "dtype": dtype}, scale=1.0)

    return {
        "is a number": 5,
        "is a layer": _part("bijections.Identity"),
        "of -3 features": _part("distributions.StandardNormal", features=-3),
        "of 10^12 features": _part("distributions.StandardNormal", features=10**12),
        "of no features": _part("distributions.StandardNormal", features=[]),
        "of features 10^6 three times": _part("distributions.DiagonalNormal", features=[10**6] * 3),
        "of text features": _part("distributions.StandardNormal", features="three"),
        "upside down": _part("distributions.Uniform", features=3, low=2.0, high=1.0),
        "without a class": _part("distributions.Wrapped", distribution={"args": {}}),
        "without arguments": _part("distributions.Wrapped", distribution={"class": "Normal"}),
        "of a list": _part("distributions.Wrapped", distribution=[]),
        "of a dtype that is a function": of_dtype("load"),
        "of a dtype that is a module": of_dtype("_dynamo"),
        "of a dtype that is a number": of_dtype(5),
        "of text for numbers": wrapped("Normal", loc={"tensor": "abc", "dtype": "float32"}, scale=1.0),
        "of ragged numbers": wrapped("Normal", loc={"tensor": [[0.0], []], "dtype": "float32"}, scale=1.0),
        "os.system": wrapped("os.system", command="true"),
        "__loader__": wrapped("__loader__"),
        "kl_divergence": wrapped("kl_divergence", p=1, q=2),
        "a class of no use": wrapped("Distribution"),
        "a transform": wrapped("ExpTransform"),
        "a list for a class": wrapped(["Normal"]),
        "discrete": wrapped("Bernoulli", probs=tensor),
        "of unknown arguments": wrapped("Normal", location=tensor),
        "20,000 by 20,000": wrapped("Normal", loc=column, scale=row),
        "20,000 by 20,000, stacked": wrapped("Beta", concentration1=row, concentration0={**column}),
        "low rank of 20,000": wrapped(
            "LowRankMultivariateNormal",
            loc=tensor, cov_factor=row, cov_diag={"tensor": [1.0], "dtype": "float32"},
        ),
    }  # fmt: skip


def _layers() -> dict[str, Any]:
    return {
        "none": [],
        "of numbers": [1, 2, 3],
        "for a list": 5,
        "of laws": [_part("laws.Affine")],
        "of laws named os.system": [_part("bijections.Coupling", law=_part("os.system"))],
        "with -1 event dimensions": [_part("bijections.Identity", event_ndim=-1)],
        "with 10^6 event dimensions": [_part("bijections.Identity", event_ndim=10**6)],
        "with text for a bound": [_part("bijections.Affine", features=3, bound="x")],
        "with a bound of 0": [_part("bijections.Scale", features=3, bound=0)],
        "with a bound below 0": [_part("bijections.Affine", features=3, bound=-1.0)],
        "with a law's bound of 10^9": [_coupling(law=_part("laws.Affine", bound=10**9))],
        "with a mask of another kind": [_coupling(mask=_part("bijections.Mask", kind="eval", shape=[3]))],
        "with a mask of no shape": [_coupling(mask=_part("bijections.Mask", kind="halves", shape=[]))],
        "with a mask of 10^6 by 10^6": [
            _coupling(mask=_part("bijections.Mask", kind="checkerboard", shape=[10**6, 10**6, 10**6]))
        ],
        "with a mask as text": [_coupling(mask="halves")],
        "with an order twice": [_part("bijections.Permutation", order=[0, 0, 1])],
        "with an order out of range": [_part("bijections.Permutation", order=[0, 1, 10**6])],
        "with an order of text": [_part("bijections.Permutation", order="abc")],
        "with 10^6 residual blocks": [
            _coupling(conditioner=_part("conditioners.ResidualMLP", **_SIZES, blocks=10**6))
        ],
        "with a width of 10^6": [
            _coupling(conditioner=_part("conditioners.ResidualMLP", **_SIZES, width=10**6))
        ],
        "whitening 10^6 features": [_part("bijections.Whiten", features=10**6)],
        "standardising a cube": [_part("bijections.Standardize", features=[10**6] * 3)],
        "by an unknown method": [_part("bijections.Standardize", features=3, method="eval")],
        "of momentum text": [_part("bijections.BatchNorm", features=3, momentum="x")],
        "in a box of text": [_part("bijections.Logit", low="a", high="b")],
    }


_SIZES = {"in_features": 1, "out_features": 2, "n_params": 2}


def _coupling(**args: Any) -> dict[str, Any]:
    parts = {
        "law": _part("laws.Affine"),
        "conditioner": _part("conditioners.MLP", **_SIZES),
        "mask": _part("bijections.Mask", kind="halves", shape=[3]),
    }
    return _part("bijections.Coupling", **{**parts, **args})


def _with_base(about: dict[str, Any], base: Any) -> dict[str, Any]:
    changed = copy.deepcopy(about)
    changed["model"]["args"]["base"] = base
    return changed


def _with_layers(about: dict[str, Any], layers: Any) -> dict[str, Any]:
    changed = copy.deepcopy(about)
    changed["model"]["args"]["bijection"]["args"]["bijections"] = layers
    return changed


def _with_network(about: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(about)
    layers = changed["model"]["args"]["bijection"]["args"]["bijections"]
    coupling = next(layer for layer in layers if layer["kind"] == "bijections.Coupling")
    coupling["args"]["conditioner"]["args"].update(args)
    return changed


def _tensors(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    name = next(name for name in tensors if name.endswith("weight"))
    rest = {key: value for key, value in tensors.items() if key != name}
    tensor = tensors[name]
    return {
        "none": {},
        "one missing": rest,
        "one more": {**tensors, "more": torch.zeros(3)},
        "one renamed": {**rest, "../../etc/passwd": tensor},
        "one transposed": {**tensors, name: tensor.T},
        "one flat": {**tensors, name: tensor.flatten()},
        "one with no rows": {**tensors, name: tensor[:0]},
        "one of whole numbers": {**tensors, name: tensor.long()},
        "one of booleans": {**tensors, name: tensor.bool()},
        "all of whole numbers": {key: value.int() for key, value in tensors.items()},
    }


def _about_integers(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield files whose flags and positions, which are no floating numbers, are of another dtype."""
    layers = Chain(ActNorm(3), Permutation([2, 0, 1]))
    about, tensors = model_about(Flow(StandardNormal(3), layers))
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            path = folder / f"model-{name}.safetensors"
            container.write(path, {**tensors, name: tensor.double()}, about)
            yield f"tensors: {name} of floating numbers", path


def _large(folder: Path, about: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield files of a megabyte, which let larger numbers pass for sizes, that ask for far more."""
    path = folder / "model-large.safetensors"
    wide = _with_network(about, {"hidden": [10**6, 10**6, 10**6]})
    container.write(path, {"ballast": torch.zeros(2**18)}, wide)
    yield "description: widths of 10^6 in a file of a megabyte", path
    for kind in ("MaskedMLP", "CausalTransformer"):
        network = _part(f"conditioners.{kind}", features=10**5, n_params=2)
        layer = _part("bijections.Autoregressive", law=_part("laws.Affine"), conditioner=network)
        path = folder / f"model-large-{kind}.safetensors"
        container.write(path, {"ballast": torch.zeros(2**18)}, _with_layers(about, [layer]))
        yield f"description: the graph of 10^5 features of a {kind} in a file of a megabyte", path


def _deep(folder: Path, about: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield files whose description is nested deeper than Python's own stack; written as text."""
    text = json.dumps(_with_layers(about, ["here"]))
    inverse = '{"kind": "bijections.Inverse", "args": {"bijection": ', "}}"
    chain = '{"kind": "bijections.Chain", "args": {"bijections": [', "]}}"
    nests = {"Inverse": inverse, "Chain": chain, "lists": ("[", "]"), "objects": ('{"a": ', "}")}
    for name, (before, after) in nests.items():
        for deep in (100, 200, 450, 10_000):
            inner = before * deep + '{"kind": "bijections.Identity"}' + after * deep
            path = folder / f"model-{name}-{deep}.safetensors"
            path.write_bytes(packed({"__metadata__": {"diffeo": text.replace('"here"', inner)}}))
            yield f"description: {name} {deep} deep", path
