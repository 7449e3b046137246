"""Every case keeps every promise, in a spread of sizes, contexts, precisions and gains.

``make test`` meets each size and each context of a case; ``make proofs`` every size in every context.
"""

import pytest
import torch

from diffeo.diagnostics import checks
from diffeo.registry import registered, to_spec
from diffeo.testing import CASES, GAINS, Variant, broken_promises, keep, spread, variants
from diffeo.testing.compiled import one_graph

#: Kinds that are no part of a density's formula: what they are is tested where it is said.
NOT_PARTS = {
    "conditioners.Guided": "nothing without a context; its case has it where there is one",
    "estimator.Joint": "what the file of a FlowDensity holds; tests/estimator",
    "estimator.Members": "weighted flows in views of the data; tests/estimator",
    "friends.GAN": "no density; tests/friends",
    "friends.Gaussian": "fitted to rows in one go; tests/friends",
    "friends.GaussianCopula": "fitted to rows in one go; tests/friends",
    "friends.GaussianMixture": "fitted to rows in one go; tests/friends",
    "friends.KernelDensity": "fitted to rows in one go; tests/friends",
    "friends.VAE": "a bound of a density; tests/friends",
    "images.ImageModel": "a flow of images and their levels; tests/images",
    "tables.Column": "a name in a schema; tests/tables",
    "tables.MixedDensity": "of encoded rows, not of vectors; tests/tables",
    "tables.MixedModel": "of encoded rows, not of vectors; tests/tables",
    "tables.Schema": "the columns of a table; tests/tables",
    "tables.TableModel": "a flow with a schema; tests/tables",
}

#: Promises that weights may break; files, shapes, precisions and torch's state are as before training.
OF_WEIGHTS = ("A1", "A3", "A4", "A5", "A9", "A10", "B2", "B3")


@pytest.mark.parametrize("name", CASES)
def test_every_promise_is_kept(name):
    broken = broken_promises(CASES[name], whole=False)
    assert not broken, "\n".join(broken)


@pytest.mark.proof
@pytest.mark.parametrize("name", CASES)
def test_every_promise_is_kept_in_every_size_and_context(name):
    broken = broken_promises(CASES[name])
    assert not broken, "\n".join(broken)


FLOWS = [name for name, case in CASES.items() if case.part == "flow"]


def broken_by_training(name, figures=None, *, brief):
    case = CASES[name]
    size = 2 if 2 in case.sizes else case.sizes[0]
    exact = Variant(case, size, case.contexts[0], torch.float64, seed=1, training=True, brief=brief)
    both = (exact.at(torch.float32), exact)
    return [figure for variant in both for figure in keep(variant, figures) if not figure.ok]


@pytest.mark.parametrize("name", FLOWS)
def test_a_trained_flow_keeps_them_too(name):
    assert not broken_by_training(name, OF_WEIGHTS, brief=True)


@pytest.mark.proof
@pytest.mark.parametrize("name", FLOWS)
def test_a_trained_flow_keeps_all_of_them(name):
    assert not broken_by_training(name, brief=False)


@pytest.mark.proof  # its small version: training steps of named flows, in tests/flows/test_named.py
@pytest.mark.parametrize("name", CASES)
def test_log_prob_is_one_graph(name):
    case = CASES[name]
    variant = Variant(case, case.sizes[:3][-1], case.contexts[-1], torch.float32)
    figure = one_graph(variant.flow, variant.x, variant.given)
    assert figure.ok is ("E3" not in case.expected_failures), figure


def kinds_in(spec):
    if isinstance(spec, dict):
        return {spec.get("kind")}.union(*map(kinds_in, spec.values()))
    return set().union(*map(kinds_in, spec)) if isinstance(spec, list) else set()


def test_every_registered_kind_has_a_case():
    met = set().union(*(kinds_in(to_spec(case.make(case.sizes[-1]))) for case in CASES.values()))
    own = {kind for kind in registered() if not kind.startswith("mylab.")}  # those of examples
    assert own - met == NOT_PARTS.keys()


def test_the_spread_meets_every_precision_and_gain():
    found = [variant for case in CASES.values() for variant in spread(case, whole=False)]
    assert {(v.dtype, v.gain) for v in found} == {
        (dtype, gain) for dtype in (torch.float32, torch.float64) for gain in GAINS
    }
    assert {v.size for v in found} >= {1, 2, 3, 7, 43}
    for case in CASES.values():
        whole = list(variants([case]))
        assert {v.size for v in spread(case, whole=False)} == {v.size for v in whole}
        assert {v.context for v in spread(case, whole=False)} == {v.context for v in whole}


def test_a_known_failure_that_is_gone_is_told():
    import dataclasses

    case = dataclasses.replace(CASES["bijections.Scale"], expected_failures={"A3": "for the test"})
    assert broken_promises(case, figures=("A3",)) == ["A3 no longer fails; take it from expected_failures"]


def test_a_broken_part_is_caught_with_its_promise():
    import dataclasses

    from diffeo.bijections import Scale

    class Wrong(Scale):
        def forward(self, z, context=None):
            x, log_det = super().forward(z)
            return x, -log_det

    def build(features, context):
        return Wrong(features)

    case = dataclasses.replace(CASES["bijections.Scale"], build=build)
    lines = broken_promises(case, figures=("A3",))
    assert lines
    assert all(line.startswith("A3") for line in lines)


@pytest.mark.parametrize(
    "make", [case.build for name, case in CASES.items() if name.endswith("coupling, alternating")]
)
def test_the_cost_grows_linearly(make):
    figure = checks.growth(lambda dim: make(dim, 0), dims=(4, 8, 16))
    assert figure.ok, figure
