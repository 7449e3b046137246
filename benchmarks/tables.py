"""Real tables for the fits: from a folder of data, or those that scikit-learn brings along.

The folder is ``--data`` or the variable DIFFEO_DATA. Expected in it, as ``(file, what is in it)``:

| table | file | recipe |
| --- | --- | --- |
| power | power/power_2006-12-16_2007-06-30.npz | that of Papamakarios et al. 2017, on 196 days |
| miniboone | miniboone/miniboone_maf_val_test.npz | the published validation and test rows, pooled |
| bsds300 | bsds300/patches_270k.npz | 8×8 grey patches: noise of one level, mean taken off, 63 pixels |

Columns are standardised by the training rows; a tenth of the rows, at most 10,000, is held out (of bsds300,
test rows).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Table = tuple[Array, Array]


def tables(folder: Path | None) -> tuple[dict[str, Table], str]:
    """Return training and held-out rows by name, and a line on where they are from."""
    known = {"power": power, "miniboone": miniboone, "bsds300": bsds300}
    if folder is not None:
        found = {name: read(folder) for name, read in known.items() if (folder / name).is_dir()}
        if found:
            return found, f"read from the folder given: {', '.join(found)}"
    return {"breast cancer": bundled()}, (
        "no folder of data was given (--data or DIFFEO_DATA): scikit-learn's bundled breast cancer table, "
        "which is too small to tell much"
    )


def power(folder: Path) -> Table:
    """Return household power: five readings, with noise of their last digit, and the time of day."""
    return _standard(power_rows(folder), 10_000)


def power_rows(folder: Path) -> npt.NDArray[np.float64]:
    """Return the shuffled rows of household power, in kilowatts, volts, watt-hours and minutes."""
    with np.load(folder / "power" / "power_2006-12-16_2007-06-30.npz") as z:
        readings, minute = z["x"].astype(np.float64), z["minute"] % 1440
    draws = np.random.RandomState(42)
    x = np.column_stack([readings[:, [0, 2, 4, 5, 6]], minute])
    x = x[draws.permutation(len(x))]
    x += draws.rand(*x.shape) * np.array([0.001, 0.01, 1.0, 1.0, 1.0, 0.0])
    return x


def miniboone(folder: Path) -> Table:
    """Return particle identification: 43 columns."""
    x = np.concatenate(miniboone_parts(folder))
    x = x[np.random.default_rng(0).permutation(len(x))]
    return _standard(x, len(x) // 10)


def miniboone_parts(folder: Path) -> Table:
    """Return the published validation and test rows, standardised as published."""
    with np.load(folder / "miniboone" / "miniboone_maf_val_test.npz") as z:
        return z["val"], z["test"]


def bsds300(folder: Path) -> Table:
    """Return patches of photographs: 63 of the 64 pixels."""
    draws = np.random.default_rng(0)
    with np.load(folder / "bsds300" / "patches_270k.npz") as z:
        parts = [z["train"], z["test"][:10_000]]
    train, held = (patches(part, draws) for part in parts)
    return _standard(np.concatenate([train, held]), len(held))


def bundled() -> Table:
    """Return scikit-learn's breast cancer table: 569 rows of 30 columns."""
    from sklearn.datasets import load_breast_cancer

    x = load_breast_cancer().data
    return _standard(x[np.random.default_rng(0).permutation(len(x))], len(x) // 10)


def patches(grey: npt.NDArray[np.uint8], draws: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return patches of grey levels as numbers: noise of one level, the mean taken off, 63 pixels."""
    x = (grey.reshape(len(grey), -1) + draws.random((len(grey), 64))) / 256
    return (x - x.mean(1, keepdims=True))[:, :-1]


def _standard(x: npt.NDArray[np.floating], held: int) -> Table:
    train, others = x[:-held], x[-held:]
    mean, deviation = train.mean(0), train.std(0)
    first, second = ((part - mean) / deviation for part in (train, others))
    return first.astype(np.float32), second.astype(np.float32)
