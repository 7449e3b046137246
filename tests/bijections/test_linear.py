"""Linear maps: their matrices are autograd's, their factors what they are said to be."""

import pytest
import torch

from diffeo.bijections import LU, QR, SVD, InvertibleConv1x1, Orthogonal, Triangular
from diffeo.errors import ConfigError, ShapeError
from diffeo.kernels.linear import linear_rows, rotation, solved_rows
from diffeo.testing import stress

MAPS = {
    "LU": LU,
    "LU, reversed": lambda d: LU(d, permute="reverse"),
    "LU, random": lambda d: LU(d, permute="random", seed=5),
    "lower": Triangular,
    "upper": lambda d: Triangular(d, lower=False),
    "orthogonal": Orthogonal,
    "one reflection": lambda d: Orthogonal(d, reflections=1),
    "more reflections than features": lambda d: Orthogonal(d, reflections=2 * d + 1),
    "QR": QR,
    "SVD": SVD,
}


def lively(part, seed=0):
    return stress(part.double(), 2.0, seed)


def eye(features):
    return torch.eye(features, dtype=torch.float64)


@pytest.mark.parametrize("features", [1, 2, 5])
@pytest.mark.parametrize("name", MAPS)
def test_the_matrix_is_autograds_jacobian_and_the_log_det_its_own(name, features):
    part = lively(MAPS[name](features))
    at = torch.linspace(-2, 3, features, dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(lambda z: part(z)[0], at)
    back = torch.autograd.functional.jacobian(lambda x: part.inverse(x)[0], at)
    matrix = part.matrix().detach()
    torch.testing.assert_close(matrix, slopes, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(matrix @ back, eye(features), rtol=0, atol=1e-9)
    torch.testing.assert_close(part(at)[1], torch.linalg.slogdet(matrix).logabsdet, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(part(at)[0], matrix @ at, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["LU", "lower", "upper", "orthogonal", "QR", "SVD"])
def test_untrained_it_is_the_identity_to_the_last_bit(name):
    part, z = MAPS[name](5), torch.linspace(-3, 3, 10).reshape(2, 5)
    assert torch.equal(part(z)[0], z)
    assert torch.equal(part.inverse(z)[0], z)
    assert not part(z)[1].any()


def test_no_parameter_of_lu_breaks_its_bounds():
    part = LU(3, bound=1.0, shear=0.5).double()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.copy_(1e6 * torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape))
    scale = part.upper().diagonal()
    assert part.lower().tril(-1).abs().max() <= 0.5
    assert (part.upper().triu(1) / scale[:, None]).abs().max() <= 0.5
    assert scale.log().abs().max() <= 1.0 + 1e-15


def test_glows_factors_make_the_matrix():
    part = lively(LU(4, permute="random", seed=1))
    lower, upper, order = part.lower(), part.upper(), part.get_buffer("order").tolist()
    assert sorted(order) == [0, 1, 2, 3]
    assert order != [0, 1, 2, 3]
    assert torch.equal(lower.diagonal(), torch.ones(4, dtype=torch.float64))
    assert not lower.triu(1).any()
    assert not upper.tril(-1).any()
    permutation = eye(4)[order]
    torch.testing.assert_close(part.matrix(), permutation @ lower @ upper)


def test_a_seed_fixes_the_permutation_and_leaves_torchs_alone():
    before = torch.get_rng_state()
    one, same, other = (LU(20, permute="random", seed=s).get_buffer("order") for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def reflected(turns):
    """Return the product of reflections, one after the other as the docstring has it."""
    features = turns.shape[-1]
    product = eye(features)
    for k, turn in enumerate(turns):
        fixed = eye(features)[k % features]
        for v in (fixed, fixed + turn * (1 - fixed)):
            product = product @ (eye(features) - 2 * torch.outer(v, v) / (v @ v))
    return product


@pytest.mark.parametrize(("count", "features"), [(1, 1), (1, 3), (4, 4), (9, 4), (43, 43)])
@pytest.mark.parametrize("size", [0.1, 1.0, 1e3])
def test_a_rotation_is_its_reflections_one_after_the_other(count, features, size):
    generator = torch.Generator().manual_seed(count)
    turns = size * torch.randn(count, features, generator=generator, dtype=torch.float64)
    found = rotation(turns)
    torch.testing.assert_close(found, reflected(turns), rtol=0, atol=1e-11)
    torch.testing.assert_close(found @ found.T, eye(features), rtol=0, atol=1e-12)
    assert torch.linalg.det(found) > 0


def test_no_turn_is_too_large_for_a_rotation():
    turns = torch.tensor([[0.0, 1e30], [-1e38, 0.0]], requires_grad=True)
    found = rotation(turns)
    torch.testing.assert_close((found @ found.T).detach(), torch.eye(2))
    (slope,) = torch.autograd.grad(found.sum(), turns)
    assert slope.isfinite().all()


def test_a_rotation_in_the_plane_is_twice_the_angle_between_the_mirrors():
    angle = torch.tensor(0.3, dtype=torch.float64)
    found = rotation(torch.stack([torch.zeros_like(angle), angle.tan()])[None])
    wanted = torch.stack([(2 * angle).cos(), (2 * angle).sin()])
    torch.testing.assert_close(found[:, 0].abs(), wanted)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_rotations_reach_what_an_optimiser_asks_for(target):
    generator = torch.Generator().manual_seed(target)
    wanted = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0]
    wanted = wanted * torch.cat([torch.linalg.det(wanted)[None], torch.ones(3)])
    part = Orthogonal(4).double()
    lbfgs = torch.optim.LBFGS(part.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss():
        lbfgs.zero_grad()
        off = (part.matrix() - wanted).square().sum()
        off.backward()
        return off

    lbfgs.step(loss)
    assert float(loss().detach()) < 1e-8


def test_the_singular_values_are_those_that_are_said():
    part = lively(SVD(5))
    found = torch.linalg.svdvals(part.matrix())
    torch.testing.assert_close(found, part.log_scale.exp().sort(descending=True).values)


def test_no_parameter_breaks_the_bound_of_the_condition():
    part = SVD(3, bound=2.0).double()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.copy_(1e6 * torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape))
    assert torch.linalg.cond(part.matrix()) < 1.001 * torch.e**4


def test_a_convolution_is_torchs_and_counts_its_pixels():
    part = lively(InvertibleConv1x1((3, 4, 5), permute="random", seed=2))
    z = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, log_det = part(z)
    torch.testing.assert_close(x, torch.nn.functional.conv2d(z, part.matrix()[:, :, None, None]))
    wanted = 20 * torch.linalg.slogdet(part.matrix()).logabsdet
    torch.testing.assert_close(log_det, wanted.expand(2))
    torch.testing.assert_close(part.inverse(x)[0], z)


def test_a_hostile_row_has_no_part_in_the_gradient():
    part = lively(QR(3))
    rows = torch.ones(3, 3, dtype=torch.float64)
    wanted = torch.autograd.grad(part(rows[1:])[0].sum(), part.orthogonal.turns)[0]
    for value in (1e30, 1e300, torch.inf, torch.nan):
        rows[0, 1] = value
        x, _ = part(rows)
        kept = torch.where(torch.arange(3)[:, None] == 0, 0.0, x)
        assert torch.equal(torch.autograd.grad(kept.sum(), part.orthogonal.turns)[0], wanted)


def test_an_infinity_goes_where_the_matrix_takes_it():
    matrix = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])

    def product(rows):
        return rows @ matrix.T

    rows = torch.tensor([[torch.inf, 1.0], [1.0, -torch.inf], [torch.nan, 1.0]])
    found = linear_rows(product, rows)
    assert found[0].tolist() == [torch.inf, -torch.inf]
    assert found[1].tolist() == pytest.approx([1.0, -torch.inf])
    assert found[2].isnan().all()


@pytest.mark.parametrize("features", [1, 2, 3])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_triangular_systems_are_solved(features, upper, unit):
    generator = torch.Generator().manual_seed(features)
    factor = torch.randn(features, features, generator=generator, dtype=torch.float64)
    factor = factor.triu(1) if upper else factor.tril(-1)
    factor = factor + (1.0 if unit else 3.0) * eye(features)
    rows = torch.randn(4, features, generator=generator, dtype=torch.float64)
    found = solved_rows(factor, rows, upper=upper, unit=unit)
    torch.testing.assert_close(found @ factor.T, rows)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LU(0), "features=0 must be a whole number of at least 1"),
        (lambda: LU(2, permute="randon"), "permute='randon' is not known.*Did you mean 'random'"),
        (lambda: LU(2, seed=-1), "seed=-1 must be a whole number of at least 0"),
        (lambda: LU(2, bound=0.0), "bound=0.0 must be a finite number above 0"),
        (lambda: LU(2, shear=0), "shear=0 must be a finite number above 0"),
        (lambda: Triangular(2, lower=1), "lower=1 must be True or False"),
        (
            lambda: Orthogonal(2, reflections=0),
            "reflections=0 must be a whole number of at least 1, or None",
        ),
        (lambda: SVD(2, bound=-1.0), "bound=-1.0 must be a finite number above 0"),
        (lambda: InvertibleConv1x1((3, 4)), r"shape=\(3, 4\) must be \(channels, height, width\)"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_wrong_shape_is_named():
    with pytest.raises(ShapeError, match=r"z has shape \(4, 2\); expected \(\.\.\., 3\)"):
        LU(3)(torch.ones(4, 2))
