"""A folder of data as the loaders expect it, made on the spot."""

import gzip

import numpy as np
import polars as pl
import pytest

from benchmarks.density.sets import text


@pytest.fixture
def folder(tmp_path):
    """A folder of data as the loaders expect it, of a few rows each."""
    rng = np.random.default_rng(0)
    for name in ("adbench", "uci_small", "miniboone", "adult", "compas", "bsds300", "sbibm"):
        (tmp_path / name).mkdir()
    np.savez(tmp_path / "adbench" / "14_glass.npz", X=rng.normal(size=(60, 3)), y=np.arange(60) % 2)
    parts = {part: rng.normal(size=(50, 43)).astype(np.float32) for part in ("val", "test")}
    np.savez(tmp_path / "miniboone" / "miniboone_maf_val_test.npz", **parts)
    np.savez(tmp_path / "sbibm" / "slcp.npz", posterior=rng.normal(size=(10, 80, 5)))
    rows = rng.normal(size=(90, 3)).round(5)
    lines = "\n".join(f"{'MFI'[k % 3]},{a},{b},{c}" for k, (a, b, c) in enumerate(rows.tolist()))
    (tmp_path / "uci_small" / "abalone.csv.gz").write_bytes(gzip.compress(lines.encode()))
    person = "Private, {0}, Bachelors, 13, Single, Sales, Wife, White, Female, 0, 0, 40, ?, <=50K"
    for part, end in (("train", ""), ("test", ".")):
        told = "\n".join(f"{20 + k}, {person.format(7 * k)}{end}" for k in range(40)) + "\n\n"
        (tmp_path / "adult" / f"adult-{part}.csv.gz").write_bytes(gzip.compress(told.encode()))
    screened = {name: [str(k) for k in range(30)] for name in text.COMPAS}
    screened |= {"compas_screening_date": ["2013-08-14"] * 30, "c_jail_in": ["2013-08-13 06:03:42"] * 30}
    written = pl.DataFrame(screened).write_csv()
    (tmp_path / "compas" / "compas-scores-two-years.csv.gz").write_bytes(gzip.compress(written.encode()))
    return tmp_path
