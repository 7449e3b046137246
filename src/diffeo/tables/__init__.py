"""Tables: read, checked, fitted, scored in the data's own units, sampled, written.

>>> import diffeo.tables
>>> model, result = diffeo.tables.fit_table(diffeo.tables.read_table("table.csv"))  # doctest: +SKIP
>>> model.score(diffeo.tables.read_table("new.parquet"))                             # doctest: +SKIP
"""

from diffeo.tables.architecture import Architecture
from diffeo.tables.fitting import fit_table, table_training
from diffeo.tables.mixed import MixedDensity, MixedModel, MixedRows, MixedSettings
from diffeo.tables.model import TableModel
from diffeo.tables.numeric_schema import NumericColumn, NumericSchema, listed
from diffeo.tables.read import iter_batches, read_table
from diffeo.tables.schema import Schema
from diffeo.tables.training_rows import TrainingRows, training_rows
from diffeo.tables.variable import Encoded, Variable
from diffeo.tables.write import open_writer

__all__ = [
    "Architecture",
    "Encoded",
    "MixedDensity",
    "MixedModel",
    "MixedRows",
    "MixedSettings",
    "NumericColumn",
    "NumericSchema",
    "Schema",
    "TableModel",
    "TrainingRows",
    "Variable",
    "fit_table",
    "iter_batches",
    "listed",
    "open_writer",
    "read_table",
    "table_training",
    "training_rows",
]
