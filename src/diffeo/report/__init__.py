"""One report of a density and rows: a page that needs no network, a summary in words, JSON, a terminal."""

from diffeo.report.draft import Section
from diffeo.report.examination import Examination, examine

__all__ = ["Examination", "Section", "examine"]
