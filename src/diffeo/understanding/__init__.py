"""What an exact density is for: which rows are unusual, what drifted, where a table is biased."""

from diffeo.understanding.anomalies import Anomalies, anomalies
from diffeo.understanding.audit import Audit, audit, reweight
from diffeo.understanding.drift import Drift, drift

__all__ = ["Anomalies", "Audit", "Drift", "anomalies", "audit", "drift", "reweight"]
