"""Measures between two samples: data beside draws, without any density.

Each returns figures, their error and the p-value of a test, and prints as a sentence.
"""

from diffeo.diagnostics.samples.classifier import ClassifierTest, classifier_two_sample
from diffeo.diagnostics.samples.copies import Memorisation, memorisation
from diffeo.diagnostics.samples.discrepancy import Discrepancy, mmd
from diffeo.diagnostics.samples.energy import Energy, energy_distance
from diffeo.diagnostics.samples.manifolds import PrecisionRecall, precision_recall

__all__ = [
    "ClassifierTest",
    "Discrepancy",
    "Energy",
    "Memorisation",
    "PrecisionRecall",
    "classifier_two_sample",
    "energy_distance",
    "memorisation",
    "mmd",
    "precision_recall",
]
