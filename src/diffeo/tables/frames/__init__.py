"""Frames: tables of numpy, pandas, polars and Arrow, read to cells and written as what they were."""

from diffeo.tables.frames.cells import Cells
from diffeo.tables.frames.frame import Frame, open_frame, write_frame

__all__ = ["Cells", "Frame", "open_frame", "write_frame"]
