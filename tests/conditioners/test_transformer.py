"""Transformers depend on what they declare, and on all of it; a row is summed alike in every batch."""

import numpy as np
import pytest
import torch

import diffeo
from diffeo.bijections import Autoregressive, Coupling, Mask
from diffeo.conditioners import CausalTransformer, Transformer
from diffeo.conditioners.attention import Attention, Encoder
from diffeo.diagnostics import checks
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError
from diffeo.flows import Flow
from diffeo.laws import Additive, Affine
from diffeo.testing import stress


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)


def slopes(net, x, context=None):
    """Return where any parameter of feature i changes with x_j."""
    return (torch.autograd.functional.jacobian(lambda at: net(at, context), x) != 0).any(1)


@pytest.mark.parametrize("order", ["ascending", "descending", [2, 0, 3, 1]])
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_causal_one_sees_the_features_before_and_all_of_them(order, context, blocks):
    net = CausalTransformer(4, 3, width=8, heads=2, blocks=blocks, context=context, order=order)
    net = stress(net)
    given = torch.randn(context) if context else None
    for x in 3 * torch.randn(5, 4):
        assert np.array_equal(slopes(net, x, given).numpy(), net.graph)


def test_in_training_too():
    net = stress(CausalTransformer(4, 3, width=8, heads=2)).train()
    assert np.array_equal(slopes(net, torch.randn(4)).numpy(), net.graph)


def test_the_full_one_sees_all_that_is_passed():
    net = stress(Transformer(3, 2, 2, width=8, heads=2, context=2))
    assert slopes(net, torch.randn(3), torch.randn(2)).all()


@pytest.mark.parametrize(
    "make", [lambda: Transformer(2, 3, 2, context=2), lambda: CausalTransformer(3, 2, context=2)]
)
def test_every_feature_sees_its_context(make):
    net = stress(make())
    x = torch.randn(net.in_features)
    found = torch.autograd.functional.jacobian(lambda c: net(x, c), torch.zeros(2))
    assert (found != 0).any(1).all()


def test_features_are_told_apart():
    # Attention alone does not know which feature a number is of.
    net = stress(Transformer(2, 2, 1, width=8, heads=2))
    one, other = net(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    assert not torch.allclose(one, other)
    assert not torch.allclose(one[0], one[1])


def test_attention_is_torchs():
    attention = Attention(24, 3)
    mask = torch.rand(5, 5) > 0.3
    mask |= torch.eye(5, dtype=torch.bool)
    h = torch.randn(2, 5, 24)
    reference = torch.nn.MultiheadAttention(24, 3, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(attention.ask.weight)
        reference.in_proj_bias.copy_(attention.ask.bias)
        reference.out_proj.weight.copy_(attention.tell.weight)
        reference.out_proj.bias.copy_(attention.tell.bias)
    wanted, _ = reference(h, h, h, attn_mask=~mask)
    wide = torch.nn.functional.pad(mask, (0, 3))
    torch.testing.assert_close(attention(h, wide), wanted)


def test_the_encoder_is_torchs():
    rank = torch.tensor([2, 0, 3, 1, 1])
    encoder = Encoder(rank, 16, 2, 4, "gelu", 0.0).eval()
    layer = torch.nn.TransformerEncoderLayer(
        16, 4, 64, 0.0, activation="gelu", batch_first=True, norm_first=True
    )
    reference = torch.nn.TransformerEncoder(layer, 2, torch.nn.LayerNorm(16), enable_nested_tensor=False)
    with torch.no_grad():
        for own in encoder.parameters():
            own.add_(0.1 * torch.randn_like(own))
        for block, other in zip(encoder.blocks, reference.layers, strict=True):
            other.self_attn.in_proj_weight.copy_(block.attention.ask.weight)
            other.self_attn.in_proj_bias.copy_(block.attention.ask.bias)
            other.self_attn.out_proj.load_state_dict(block.attention.tell.state_dict())
            other.norm1.load_state_dict(block.before_attention.state_dict())
            other.norm2.load_state_dict(block.inner[0].state_dict())
            other.linear1.load_state_dict(block.inner[1].state_dict())
            other.linear2.load_state_dict(block.inner[3].state_dict())
        reference.norm.load_state_dict(encoder.norm.state_dict())
        h = torch.randn(3, 5, 16)
        torch.testing.assert_close(encoder(h), reference(h, mask=rank[:, None] < rank))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("features", [1, 2, 5, 7, 9, 16, 43])
@pytest.mark.parametrize(("width", "heads"), [(4, 1), (12, 3), (24, 3), (64, 4)])
def test_a_rows_bits_do_not_depend_on_its_batch(dtype, features, width, heads):
    mask = Mask.alternating(features)
    full = Transformer(mask.n_passed, mask.n_moved, 2, width=width, heads=heads, blocks=1, context=2)
    causal = CausalTransformer(features, 2, width=width, heads=heads, blocks=1, context=2)
    x = torch.randn(35, features, dtype=dtype)
    context = torch.randn(35, 2, dtype=dtype)
    for layer in (Coupling(Affine(), full, mask), Autoregressive(Affine(), causal)):
        figure = checks.batch_invariance(stress(layer.to(dtype)), x, context, limit=0.0)
        assert figure.ok, figure


def test_a_layer_that_is_trained_falls():
    torch.manual_seed(0)
    x = torch.randn(256, 3)
    x[:, 2] = x[:, 0] * x[:, 1] + 0.1 * x[:, 2]
    layer = Autoregressive(Affine(), CausalTransformer(3, 2, width=16, heads=2, blocks=1))
    adam = torch.optim.Adam(layer.parameters(), lr=5e-3)
    losses = []
    for _ in range(100):
        z, log_det = layer.inverse(x)
        loss = (z.square().sum(-1) / 2 - log_det).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    # x₂ given x₀ and x₁ is known to 0.1: nothing less than their product tells.
    assert losses[-1] < losses[0] - 1.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Transformer(-1, 2, 2), "in_features=-1"),
        (lambda: Transformer(2, 2, 2, width=6, heads=2), "width=6 must be a multiple of 8"),
        (lambda: Transformer(2, 2, 2, heads=0), "heads=0"),
        (lambda: Transformer(2, 2, 2, blocks=0), "blocks=0"),
        (lambda: Transformer(2, 2, 2, activation="swish"), "activation='swish'"),
        (lambda: Transformer(2, 2, 2, dropout=1.0), "dropout=1.0"),
        (lambda: CausalTransformer(0, 2), "features=0"),
        (lambda: CausalTransformer(3, 2, order=[0, 0, 1]), "each of the 3 features once"),
        (lambda: CausalTransformer(3, 2, width=0), "width=0"),
    ],
)
def test_what_does_not_fit_is_named(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize(
    "make",
    [
        lambda: CausalTransformer(600, 1, width=4, heads=1, blocks=1),
        lambda: Transformer(300, 300, 1, width=4, heads=1, blocks=1),
    ],
)
def test_many_features_load_from_a_file_of_few_parameters(make, tmp_path):
    net = stress(make())
    law = Additive()
    layer = (
        Autoregressive(law, net)
        if isinstance(net, CausalTransformer)
        else Coupling(law, net, Mask.halves(600))
    )
    flow = Flow(StandardNormal(600), layer).eval()
    flow.save(tmp_path / "flow.safetensors")
    x = torch.randn(2, 600)
    again = diffeo.load(tmp_path / "flow.safetensors").eval()
    assert torch.equal(again.log_prob(x), flow.log_prob(x))
