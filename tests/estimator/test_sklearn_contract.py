"""FlowDensity is a scikit-learn estimator: their own checks say so."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from diffeo import FlowDensity

#: Checks that cannot hold, with the reason.
EXPECTED = {
    "check_outliers_train": "the threshold is calibrated on held-out rows, so that the share of training "
    "rows below it is near contamination and not exactly it",
    "check_outliers_fit_predict": "as check_outliers_train",
    "check_sample_weight_equivalence_on_dense_data": "rows are split in folds by their place in the table, "
    "so that a table in another order is another split",
}


def expected(estimator):
    return EXPECTED


@parametrize_with_checks(
    [
        FlowDensity(architecture="gaussian", max_steps=5, random_state=0),
        FlowDensity(max_steps=5, random_state=0),
    ],
    expected_failed_checks=expected,
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    check(estimator)
