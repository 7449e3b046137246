"""``diffeo info``: what a model file says of itself."""

from __future__ import annotations

import math
from typing import Any

from diffeo.cli.answer import answering
from diffeo.cli.options import Json, Model


def info(model: Model, json: Json = False) -> None:
    """Print a model's columns, architecture, size, versions and held-out nats, without building it."""
    with answering(json) as answer:
        from diffeo.errors import FileError
        from diffeo.files import describe_file

        about = describe_file(model)
        try:
            facts = _facts(about)
            answer.give(facts, _text(model, facts))
        except (TypeError, AttributeError, LookupError, ValueError, RecursionError) as error:
            raise FileError(
                f"{model!r} describes no model that diffeo could have written. Give the path of a file "
                "that diffeo wrote, or copy it again from where it came from."
            ) from error


def _facts(about: dict[str, Any]) -> dict[str, Any]:
    spec = about["model"]
    extra = about.get("extra", {})
    if isinstance(extra, dict) and extra.get("estimator") == "FlowDensity":
        return _facts_of_mixed(about, extra)
    tensors: dict[str, list[int]] = about["tensors"]
    arguments: dict[str, Any] = spec.get("args", {}) if isinstance(spec, dict) else {}
    columns = [column.get("args", {}) for column in _columns(arguments)]
    return {
        "kind": spec.get("kind") if isinstance(spec, dict) else None,
        "format": about["format"],
        "version": about.get("version"),
        "digest": about.get("digest"),
        "columns": columns,
        "architecture": _layers(arguments.get("flow", spec)),
        "numbers": sum(math.prod(shape) for shape in tensors.values()),
        "tensors": len(tensors),
        "extra": about.get("extra", {}),
    }


def _facts_of_mixed(about: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Return what the file of a FlowDensity says: columns with their kinds, members, what was tried."""
    spec = about["model"]["args"]
    members: dict[str, Any] = (spec["members"] or {}).get("args", {})
    names: list[str] = members.get("names", [])
    weights: list[float] = members.get("weights", [])
    models: list[Any] = [] if spec["mixed"] is None else spec["mixed"]["args"]["models"]
    parts = [f"{len(models)} densities of the columns with states, one column after another"] * bool(models)
    parts += [f"weight {weight:.3f}: {name}" for name, weight in zip(names, weights, strict=True)]
    schema = extra["schema"]["columns"]
    return {
        "kind": about["model"]["kind"],
        "format": about["format"],
        "version": about.get("version"),
        "digest": about.get("digest"),
        "columns": [{"name": c["name"], "kind": c["kind"], "dtype": _dtype(c["storage"])} for c in schema],
        "architecture": parts,
        "numbers": sum(math.prod(shape) for shape in about["tensors"].values()),
        "tensors": len(about["tensors"]),
        "extra": {"estimator": "FlowDensity", **extra["about"]["parameters"]},
        "report": str(extra["about"]["report"]).splitlines(),
    }


def _dtype(storage: dict[str, Any]) -> str:
    """Return how a column was held; Arrow says its type, with parameters as a list."""
    told = storage.get("dtype", storage.get("type"))
    return str(told[0] if isinstance(told, list) else told)


def _columns(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    schema = arguments.get("schema")
    columns = schema.get("args", {}).get("columns", []) if isinstance(schema, dict) else []
    return [column for column in columns if isinstance(column, dict)]


def _layers(spec: Any) -> list[str]:
    """Return the parts of a flow, noise side first: the base, then each bijection with its settings."""
    if not isinstance(spec, dict):
        return []
    arguments: dict[str, Any] = spec.get("args", {})
    if spec.get("kind") == "flows.Flow":
        return _layers(arguments.get("base")) + _layers(arguments.get("bijection"))
    if spec.get("kind") == "bijections.Chain":
        return [layer for part in arguments.get("bijections", []) for layer in _layers(part)]
    settings = [
        f"{name}={value!r}"
        for name, value in arguments.items()
        if isinstance(value, bool | int | float | str) or (isinstance(value, list) and len(value) <= 8)
    ]
    inner = [
        _layers(value)[0] for value in arguments.values() if isinstance(value, dict) and "kind" in value
    ]
    kind = str(spec.get("kind")).rpartition(".")[2]
    return [f"{kind}({', '.join(inner + settings)})"]


def _text(model: str, facts: dict[str, Any]) -> str:
    extra: dict[str, Any] = facts["extra"] if isinstance(facts["extra"], dict) else {}
    lines = [
        f"{model}: {facts['kind']}, format {facts['format']}, written by diffeo {facts['version']}",
        f"digest sha256:{facts['digest']}",
        f"{facts['numbers']:,} numbers in {facts['tensors']} tensors",
    ]
    lines += [f"  {key.replace('_', ' ')}: {value!r}" for key, value in extra.items()]
    if facts["columns"]:
        lines += [f"{len(facts['columns'])} columns:"]
        lines += [
            f"  {column.get('name')!r} ({', '.join(str(v) for k, v in column.items() if k != 'name')})"
            for column in facts["columns"]
        ]
    lines += ["the density, part by part:" if "report" in facts else "from noise to data:"]
    lines += [f"  {layer}" for layer in facts["architecture"]]
    if "report" in facts:
        lines += ["what was tried:", *(f"  {line}" for line in facts["report"])]
    return "\n".join(_printable(line) for line in lines)


def _printable(line: str) -> str:
    # What a file says must not steer the terminal.
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
