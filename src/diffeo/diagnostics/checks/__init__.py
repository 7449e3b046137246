"""Checks: each measures one thing and returns one :class:`~diffeo.diagnostics.figure.Figure`.

pytest, :func:`diffeo.diagnostics.verify`, the reliability page and authors of parts call the same
functions. A check works on a copy, in evaluation mode and in the dtype of the values it is given; it never
raises because of the module it checks: an exception becomes a failed figure that names it.
"""

from diffeo.diagnostics.checks.continuity import continuous
from diffeo.diagnostics.checks.contract import dtype_fidelity, finite, shapes
from diffeo.diagnostics.checks.cost import cost, growth, wall_clock
from diffeo.diagnostics.checks.determinant import log_det_matches_autograd, log_dets_cancel
from diffeo.diagnostics.checks.gradients import gradcheck, gradients_finite
from diffeo.diagnostics.checks.identity import identity_at_zero
from diffeo.diagnostics.checks.invariance import batch_invariance, inputs_not_mutated
from diffeo.diagnostics.checks.isolation import row_isolation
from diffeo.diagnostics.checks.mass import mass
from diffeo.diagnostics.checks.pattern import jacobian_zeros
from diffeo.diagnostics.checks.round_trip import round_trip, round_trip_against_prediction
from diffeo.diagnostics.checks.sampling import sample_log_prob, sampler_matches_density
from diffeo.diagnostics.checks.slopes import slope_bounds
from diffeo.diagnostics.checks.steered import Steered

__all__ = [
    "Steered",
    "batch_invariance",
    "continuous",
    "cost",
    "dtype_fidelity",
    "finite",
    "gradcheck",
    "gradients_finite",
    "growth",
    "identity_at_zero",
    "inputs_not_mutated",
    "jacobian_zeros",
    "log_det_matches_autograd",
    "log_dets_cancel",
    "mass",
    "round_trip",
    "round_trip_against_prediction",
    "row_isolation",
    "sample_log_prob",
    "sampler_matches_density",
    "shapes",
    "slope_bounds",
    "wall_clock",
]
