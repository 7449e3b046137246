"""Noise moulded into data, layer by layer: points and their volume change, for the page to play."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from diffeo.bijections.chain import layers_of
from diffeo.report.subject import Moulder

_POINTS, _COLUMNS, _STAGES = 250, 6, 12


@torch.no_grad()
def frames(moulder: Moulder, seed: int = 0) -> dict[str, Any]:
    """Return z → x of some points: their places after each stage, and log |det| up to there.

    Each layer is applied by itself; the last stage is the way from the flow's view to the data's units.
    """
    flow = moulder.flow
    layers = layers_of(flow.bijection)
    shown = sorted({round(k * len(layers) / _STAGES) for k in range(_STAGES + 1)})
    generator = torch.Generator(flow.base.device).manual_seed(seed)
    h = flow.base.sample((_POINTS,), generator=generator)
    volume = torch.zeros(_POINTS, dtype=torch.float64)
    stages, volumes, names = [h.double().numpy()], [volume.numpy().copy()], ["noise z"]
    for k, (name, layer) in enumerate(layers, 1):
        h, moved = layer(h)
        volume = volume + moved.double()
        if k in shown:
            stages.append(h.double().numpy())
            volumes.append(volume.numpy().copy())
            names.append(f"after layer {k} of {len(layers)}, {name.split(':')[-1].strip()}")
    if moulder.view is not None:
        x, moved = moulder.view(h.double())
        stages.append(x.numpy())
        volumes.append((volume + moved).numpy())
        names.append("in the units of the data")
    columns = min(_COLUMNS, len(moulder.columns))
    return {
        "columns": list(moulder.columns[:columns]),
        "stages": [np.round(stage[:, :columns], 4).tolist() for stage in stages],
        "volumes": [np.round(one, 3).tolist() for one in volumes],
        "names": names,
    }
