"""The density of any table, as a scikit-learn estimator: members chosen by held-out rows, exactly mixed."""

from diffeo.estimator.continuous import ContinuousDensity
from diffeo.estimator.flow_density import FlowDensity
from diffeo.estimator.given import Given
from diffeo.estimator.imputation import Imputed
from diffeo.estimator.members import Members
from diffeo.estimator.stored import Stored

__all__ = ["ContinuousDensity", "FlowDensity", "Given", "Imputed", "Members", "Stored"]
