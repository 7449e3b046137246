"""Parameters in one buffer: torch's AdamW, the same objects, and ordinary storage afterwards."""

import copy
import io

import pytest
import torch
from torch import nn

from diffeo.objectives import Batch, MaximumLikelihood
from diffeo.training import TrainConfig, fit
from diffeo.training.flat import flats_of, norm_of
from diffeo.training.optimisation import Optimisation
from diffeo.training.plan import plan_for
from diffeo.training.split import checked_rows

SHAPES = [(3, 5), (5,), (2, 3, 4, 4), (), (7,), (33, 2)]


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    draws = torch.Generator().manual_seed(0)
    made = [nn.Parameter(torch.randn(shape, generator=draws).to(dtype)) for shape in SHAPES]
    made[2].data = made[2].data.contiguous(memory_format=torch.channels_last)
    return made


def gradients(step: int, absent: tuple[int, ...]) -> list[torch.Tensor | None]:
    draws = torch.Generator().manual_seed(step)
    drawn = [torch.randn(shape, generator=draws) for shape in SHAPES]
    return [None if k in absent else g for k, g in enumerate(drawn)]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_the_adamw_of_torch_whatever_has_a_gradient(dtype, fused):
    ours, theirs = parameters(dtype), parameters(dtype)
    groups = [
        {"params": [p for p in theirs if p.ndim >= 2], "weight_decay": 0.3},
        {"params": [p for p in theirs if p.ndim < 2], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=0.1)
    flats = flats_of(ours, 0.3, fused=fused)
    for flat in flats:
        flat.attach()
    for step, absent in enumerate([(4,), (4,), (4, 0), (1,), (), (0, 2, 5), (0, 1, 2, 3, 4, 5), ()]):
        for p, q, g in zip(ours, theirs, gradients(step, absent), strict=True):
            p.grad = None if g is None else g.to(dtype)
            q.grad = None if g is None else g.to(dtype)
        for flat in flats:
            flat.gather()
        norm = nn.utils.clip_grad_norm_(theirs, 2.0)
        assert torch.allclose(norm_of(flats).to(norm), norm, rtol=1e-6)
        scale = (norm_of(flats) / 2.0).clamp_min(1.0).float()
        for flat in flats:
            flat.update(0.1, scale, torch.zeros(()))
        reference.step()
        tolerance = 2e-6  # clipping divides where torch multiplies by a rounded inverse
        for p, q in zip(ours, theirs, strict=True):
            torch.testing.assert_close(p.detach(), q.detach(), rtol=tolerance, atol=tolerance)
    counts = {k: float(state["step"]) for k, state in reference.state_dict()["state"].items()}
    moments = {name: t for flat in flats for name, t in flat.moments().items()}
    assert {k: float(moments[f"{k}/step"]) for k in counts} == counts


def test_how_a_buffer_is_divided_moves_no_bit():
    """A resumed run knows the counts of the steps, not which gradients came together."""
    whole, parts = parameters(), parameters()
    one, two = (flats_of(p, 0.1, fused=True) for p in (whole, parts))
    for flat in two:
        for k in range(len(flat.parameters)):  # every parameter a block of its own
            flat._divide([k == j for j in range(len(flat.parameters))])
        assert len(flat.blocks) == len(flat.parameters) > len(one[0].blocks)
    for step in range(5):
        for some, flats in ((whole, one), (parts, two)):
            for p, g in zip(some, gradients(step, ()), strict=True):
                p.grad = g
            for flat in flats:
                flat.attach()
                flat.gather()
                flat.update(0.1, torch.tensor(1.7), torch.zeros(()))
    assert all(torch.equal(p, q) for p, q in zip(whole, parts, strict=True))


def test_the_flag_stops_every_weight_moment_and_count():
    made = parameters()
    flats = flats_of(made, 0.1, fused=True)
    for flat in flats:
        flat.attach()
    for stop in (0.0, 1.0, 1.0):
        before = [p.detach().clone() for p in made], [flat.moments() for flat in flats]
        for p, g in zip(made, gradients(1, ()), strict=True):
            p.grad = g
        for flat in flats:
            flat.gather()
            flat.update(0.1, None, torch.tensor(stop))
        same = all(torch.equal(a, b) for a, b in zip(before[0], made, strict=True))
        counted = [flat.moments() for flat in flats]
        assert same == bool(stop)
        for a, b in zip(before[1], counted, strict=True):
            assert all(torch.equal(a[name], b[name]) for name in a) == bool(stop)


def test_attached_and_detached_they_are_the_same_objects_with_their_own_storage():
    made = parameters()
    aliases = [p.data for p in made]
    strides = [p.stride() for p in made]
    flats = flats_of(made, 0.1, fused=True)
    for flat in flats:
        flat.attach()
        flat.attach()
        assert copy.deepcopy(flat.parameters[0]).untyped_storage().size() == flat.parameters[0].nbytes
    assert len({p.untyped_storage().data_ptr() for p in made}) == len(flats) == 2
    version = made[0]._version
    for p, g in zip(made, gradients(0, ()), strict=True):
        p.grad = g
    for flat in flats:
        flat.gather()
        flat.update(0.1, None, None)
    assert made[0]._version > version
    expected = [p.detach().clone() for p in made]
    for flat in flats:
        flat.detach()
    assert [p.data_ptr() for p in made] == [a.data_ptr() for a in aliases]
    assert [p.stride() for p in made] == strides
    assert all(torch.equal(p, e) for p, e in zip(made, expected, strict=True))


def test_a_parameter_that_was_given_other_data_brings_its_values():
    made = parameters()
    flats = flats_of(made, 0.1, fused=True)
    for flat in flats:
        flat.attach()
    made[0].data = torch.full_like(made[0], 3.0)
    for flat in flats:
        flat.attach()
    held = next(flat for flat in flats if flat.parameters[0] is made[0])
    assert (held.views(held.weights)[0] == 3.0).all()
    assert made[0].data_ptr() == held.weights.data_ptr()


@pytest.mark.parametrize("end", ["last step", "error", "interrupt"])
def test_a_fit_leaves_ordinary_parameters(banana, small, tmp_path, end):
    x, _ = banana(200)
    flow = small(batch_norm=False)
    before = dict(flow.named_parameters())

    def stop(event) -> None:
        assert (
            len({p.untyped_storage().data_ptr() for p in flow.parameters()}) < len(before) or not event.step
        )
        if event.step == 25 and end != "last step":
            raise KeyboardInterrupt if end == "interrupt" else ZeroDivisionError

    config = TrainConfig(max_steps=50, evaluate_every=25)
    if end == "error":
        with pytest.raises(ZeroDivisionError):
            fit(flow, x, config=config, callback=stop)
    else:
        fit(flow, x, config=config, callback=stop)
    after = dict(flow.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in after)
    assert all(p.untyped_storage().size() == p.nbytes for p in after.values())
    stored = io.BytesIO()
    torch.save(flow.state_dict(), stored)
    assert stored.tell() < 2 * sum(p.nbytes for p in after.values()) + 20_000
    flow.save(tmp_path / "flow.safetensors")


def test_shared_parameters_are_trained_as_one(banana, small):
    x, _ = banana(200)
    flow = small(batch_norm=False)
    first, second = flow.bijection.bijections[0], flow.bijection.bijections[2]
    second.conditioner = first.conditioner
    start = next(first.conditioner.parameters()).detach().clone()
    fit(flow, x, config=TrainConfig(max_steps=30))
    names = dict(flow.named_parameters(remove_duplicate=False))
    shared = [name for name in names if name.startswith("bijection.bijections.2.conditioner")]
    assert shared
    assert all(names[n] is names[n.replace("bijections.2.", "bijections.0.")] for n in shared)
    assert not torch.equal(start, next(first.conditioner.parameters()))


def test_who_listens_is_told_of_every_change(banana, small):
    """A copy of the weights in another dtype follows them through steps, averages and restores."""
    x, _ = banana(200)
    config = TrainConfig(max_steps=50, batch_size=32)
    flow = small()
    train, _ = checked_rows(flow, x, None, None, noise=0.0, seed=0)
    running = Optimisation(flow, MaximumLikelihood(), train, plan_for(200, config), config)
    flat = running.flats[0]
    shadow = flat.weights.bfloat16()
    running.changed.append(lambda: shadow.copy_(flat.weights))
    seen: list[bool] = []

    class Look(MaximumLikelihood):
        def loss(self, flow, batch: Batch):
            seen.append(torch.equal(shadow, flat.weights.bfloat16()))
            return super().loss(flow, batch)

    running.objective = Look()
    start = running.capture()
    running.run(0, 5, lambda step: 1e-2)
    moved = shadow.clone()
    with running.averaged():
        assert torch.equal(shadow, flat.weights.bfloat16())
        assert not torch.equal(shadow, moved)
    assert torch.equal(shadow, moved)
    running.restore(start)
    assert torch.equal(shadow, flat.weights.bfloat16())
    assert seen == [True] * 5
    running.close()
