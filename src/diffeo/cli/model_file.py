"""Opening the model file that a command was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffeo.errors import FileError

if TYPE_CHECKING:
    from diffeo.tables import TableModel


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
