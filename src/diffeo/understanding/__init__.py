"""What an exact density is for: which rows are unusual, what drifted, where a table is biased."""

from diffeo.understanding.anomalies import Anomalies, anomalies

__all__ = ["Anomalies", "anomalies"]
