"""Jacobians of rows: the same in one pass and in D, of vectors and images, with and without context."""

import pytest
import torch

from diffeo.bijections import jacobian
from diffeo.bijections.jacobian import jacobian_of


def curved(x, context):
    """Every output depends on every input, by its own weight, and on the context."""
    flat = x.flatten(1)
    weight = torch.arange(1.0, flat.shape[1] ** 2 + 1, dtype=x.dtype).reshape(flat.shape[1], -1)
    moved = torch.sin(flat @ weight.T) + flat.square()
    if context is not None:
        moved = moved * context.sum(-1, keepdim=True)
    return moved.reshape(x.shape)


def slopes_of(x, context):
    flat = x.flatten(1)
    weight = torch.arange(1.0, flat.shape[1] ** 2 + 1, dtype=x.dtype).reshape(flat.shape[1], -1)
    found = torch.cos(flat @ weight.T)[..., None] * weight + torch.diag_embed(2 * flat)
    return found if context is None else found * context.expand(len(x), -1).sum(-1)[:, None, None]


@pytest.mark.parametrize("together", [0, 1024])
@pytest.mark.parametrize("given", ["none", "one for all", "a row each"])
@pytest.mark.parametrize("event", [(1,), (4,), (2, 1, 3)])
def test_they_are_the_formulas(monkeypatch, together, given, event):
    monkeypatch.setattr(jacobian, "TOGETHER", together)
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(5, *event, generator=draws, dtype=torch.float64)
    context = torch.rand(5, 2, generator=draws, dtype=torch.float64)
    context = {"none": None, "one for all": context[0], "a row each": context}[given]
    slopes, value = jacobian_of(curved, x, context)
    torch.testing.assert_close(slopes, slopes_of(x, context))
    torch.testing.assert_close(value, curved(x, context).flatten(1))
    assert not slopes.requires_grad


@pytest.mark.parametrize("together", [0, 1024])
def test_outputs_that_depend_on_nothing_have_slopes_of_zero(monkeypatch, together):
    monkeypatch.setattr(jacobian, "TOGETHER", together)
    slopes, _ = jacobian_of(lambda x, context: torch.ones_like(x), torch.ones(3, 2))
    assert slopes.tolist() == torch.zeros(3, 2, 2).tolist()
    half, _ = jacobian_of(lambda x, context: torch.stack([x[:, 0], x[:, 0].detach()], -1), torch.ones(3, 2))
    assert half[0].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert jacobian_of(curved, torch.ones(0, 2))[0].shape == (0, 2, 2)


def test_a_row_that_is_not_finite_has_no_part_in_others():
    x = torch.tensor([[1.0, 2.0], [torch.nan, torch.inf]], dtype=torch.float64)
    assert torch.equal(jacobian_of(curved, x)[0][:1], jacobian_of(curved, x[:1])[0])
