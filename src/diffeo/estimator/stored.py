"""A fitted ``FlowDensity`` in a model file: its densities as parts, everything else as plain JSON.

The training rows that ``partial_fit`` keeps are not written: a file holds a density and not the data.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import nn

from diffeo.errors import ConfigError, FileError
from diffeo.estimator.continuous import ContinuousDensity
from diffeo.estimator.features import Features
from diffeo.estimator.fitted import Fitted, variables_of
from diffeo.estimator.joint import JointDensity
from diffeo.estimator.members import Members
from diffeo.files import describe_file, load, save
from diffeo.registry import Part, register
from diffeo.tables.mixed import MixedDensity
from diffeo.tables.schema import Schema


@register("estimator.Joint")
class Stored(Part, nn.Module):
    """p(a) and p(b | a), either of which may be missing, and log p of the held-out rows.

    Args:
        mixed: the density of the columns with states, or None.
        members: the mixture of the continuous columns, or None.
        held: how many held-out rows there are.
    """

    def __init__(self, mixed: MixedDensity | None, members: Members | None, held: int) -> None:
        super().__init__()
        if mixed is None and members is None:
            raise ConfigError("mixed and members are both None; expected at least one density.")
        self.mixed, self.members = mixed, members
        self.register_buffer("held", torch.zeros(held, dtype=torch.float64))


def write(density: Fitted, path: str | PathLike[str], about: dict[str, Any]) -> None:
    """Write a fitted density, and what the estimator says of itself."""
    joint, continuous = density.joint, density.joint.continuous
    parts = Stored(joint.mixed, None if continuous is None else continuous.model, len(density.held))
    parts.get_buffer("held").copy_(torch.from_numpy(density.held))
    context = density.context_schema
    described = {
        "estimator": "FlowDensity",
        "schema": density.schema.to_json(),
        "context_schema": None if context is None else context.to_json(),
        "ordered": joint.ordered.tolist(),
        "given": joint.given,
        "features": joint.features.to_json(),
        "units": joint.units.tolist(),
        "inside": joint.inside.tolist(),
        "centre": [] if continuous is None else continuous.centre.tolist(),
        "tried": [] if continuous is None else continuous.report,
    }
    save(parts, path, extra={**described, "about": about})


def read(path: str | PathLike[str]) -> tuple[Fitted, dict[str, Any]]:
    """Return the fitted density that a file holds, and what the estimator said of itself."""
    extra: dict[str, Any] = describe_file(path)["extra"]
    if extra.get("estimator") != "FlowDensity":
        raise FileError(f"{str(path)!r} holds no FlowDensity; read it with diffeo.load.")
    parts = load(path)
    if not isinstance(parts, Stored):
        raise FileError(
            f"{str(path)!r} holds a {type(parts).__name__}; expected the parts of a FlowDensity."
        )
    try:
        schema, before = Schema.from_json(extra["schema"]), extra["context_schema"]
        context_schema = None if before is None else Schema.from_json(before)
        variables = variables_of(schema, context_schema)
        ordered = np.asarray(extra["ordered"], dtype=np.int64)
        plain = np.setdiff1d(np.arange(len(variables)), ordered)
        continuous = None
        if parts.members is not None:
            centre = np.asarray(extra["centre"], dtype=np.float64)
            continuous = ContinuousDensity(parts.members, extra["tried"], centre)
        features = Features.from_json(extra["features"])
        given = int(extra["given"])
        inside = np.asarray(extra["inside"], dtype=np.float64).reshape(2, len(plain))
        units = np.asarray(extra["units"], dtype=np.float64)
        joint = JointDensity(
            variables, given, ordered, plain, units, inside, features, parts.mixed, continuous
        )
        about = dict(extra["about"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{str(path)!r} does not describe a FlowDensity: {error!r:.200}.") from error
    return Fitted(schema, context_schema, joint, parts.get_buffer("held").numpy()), about
