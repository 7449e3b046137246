"""FlowDensity is a scikit-learn estimator: their own checks say so."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from diffeo import FlowDensity

#: Checks that cannot hold, with the reason.
EXPECTED = {
    "check_outliers_train": "the threshold is calibrated on held-out rows, so that the share of training "
    "rows below it is near contamination and not exactly it",
    "check_outliers_fit_predict": "as check_outliers_train",
    "check_sample_weight_equivalence_on_dense_data": "rows are split in folds by their place in the table, "
    "so that a table in another order is another split",
}

#: Checks of what flows could break: with them a fit takes seconds, and the others are of the interface.
OF_FLOWS = {
    "check_dict_unchanged",
    "check_estimators_pickle",
    "check_fit2d_1feature",
    "check_fit_idempotent",
    "check_methods_subset_invariance",
}


def expected(estimator):
    return EXPECTED


@parametrize_with_checks(
    [FlowDensity(architecture="gaussian", max_steps=5, random_state=0)], expected_failed_checks=expected
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=check.func.__name__)
        for estimator, check in estimator_checks_generator(FlowDensity(max_steps=5, random_state=0))
        if check.func.__name__ in OF_FLOWS and "readonly_memmap" not in check.keywords
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_with_flows(estimator, check):
    check(estimator)
