"""Opening the model file that a command was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffeo.errors import FileError, one_of

if TYPE_CHECKING:
    from diffeo.estimator import FlowDensity
    from diffeo.tables import TableModel


def load_density(path: str, device: str) -> TableModel | FlowDensity:
    """Return the density in a file: of numeric columns, on the device asked for, or of mixed ones.

    Raises:
        FileError: the file cannot be read, or holds another kind of model.
        ConfigError: a density of mixed columns is asked for on another device than the CPU.
    """
    mixed = load_mixed(path)
    if mixed is None:
        return load_table_model(path, device)
    one_of("device", device, ("auto", "cpu"))
    return mixed


def load_mixed(path: str) -> FlowDensity | None:
    """Return the FlowDensity in a file, or None where it holds something else."""
    from diffeo.files import describe_file

    extra = describe_file(path)["extra"]
    if not isinstance(extra, dict) or extra.get("estimator") != "FlowDensity":
        return None
    from diffeo.estimator import FlowDensity

    model = FlowDensity.load(path)
    if model.density_.context_schema is not None:
        raise FileError(
            f"{path!r} holds a density that is conditional on a context, which no option gives; expected "
            "one of whole rows: use FlowDensity.load in Python."
        )
    return model


def load_table_model(path: str, device: str) -> TableModel:
    """Return the table model in a file, on the device that was asked for.

    Raises:
        FileError: the file cannot be read, or holds another kind of model.
    """
    from diffeo import load
    from diffeo.tables import TableModel
    from diffeo.training.config import chosen_device

    model = load(path, device=chosen_device(device))
    if not isinstance(model, TableModel):
        raise FileError(
            f"{path!r} holds a {type(model).__name__}, which knows no columns of a table; expected "
            "a model that `diffeo fit` or diffeo.tables.fit_table wrote."
        )
    return model
