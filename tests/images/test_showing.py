"""The way from noise to images, of every published flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffeo.images import image_model
from diffeo.images.showing import moulding, pieces_of

#: Small settings of each flow, and how many layers it comes apart into at least.
FLOWS = {
    "nice": ({"hidden": (8,)}, 4),
    "realnvp": ({"scales": 2, "width": 4, "blocks": 1}, 6),
    "glow": ({"levels": 2, "steps": 2, "width": 4}, 12),
    "flowpp": ({"couplings": (1, 1, 1), "components": 2, "width": 16, "blocks": 1}, 3),
    "jet": ({"patch": 2, "couplings": 4, "width": 8, "blocks": 1, "heads": 2}, 4),
    "tarflow": ({"patch": 2, "width": 8, "transforms": 3, "blocks": 1, "heads": 2}, 3),
}


@pytest.mark.parametrize("name", FLOWS)
def test_noise_becomes_the_sample_step_by_step(name):
    torch.manual_seed(0)
    settings, layers = FLOWS[name]
    model = image_model((1, 8, 8), 17, flow=name, settings=settings, classes=("a", "b")).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    ways = moulding(model, 3, steps=4, labels=1, temperature=0.7)
    assert [len(way) for way in ways] == [4] * 3
    last = np.stack([way.pixels[-1] for way in ways])
    assert np.array_equal(last, model.sample(3, labels=1, temperature=0.7).pixels)
    pieces = pieces_of(model.flow.bijection)
    assert len(pieces) > layers
    z = torch.randn(3, 1, 8, 8)
    context = model.context_of_classes(np.array([0, 1, 0]))
    whole, log_det = model.flow.bijection(z, context)
    total = torch.zeros(3)
    for piece in pieces:
        z, one = piece(z, context)
        total = total + one
    assert torch.allclose(z, whole, rtol=1e-5, atol=1e-5)
    assert torch.allclose(total, log_det, rtol=1e-5, atol=1e-3)
