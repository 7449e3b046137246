"""Hostile files of tables: written, read and compared with what they ought to hold."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffeo.tables import read_table
from diffeo.testing.hostile.entry import Entry
from diffeo.testing.hostile.subjects import answered, refused, rows

#: What a table is read as: its columns by name.
Columns = dict[str, list[Any]]


def table_entries(seed: int = 0) -> Iterator[Entry]:
    """Yield the entries of hostile files."""
    for name, (data, wanted) in _readable().items():
        warns = "every column name is a number" if name == "names that are numbers" else ""
        check = partial(_differs, wanted)
        yield answered(f"{name}, .csv", "tables", partial(_read, data, ".csv"), check, warns)
        if b";" not in data and b"|" not in data and b'"' not in data:
            call = partial(_read, data.replace(b",", b"\t"), ".tsv")
            yield answered(f"{name}, .tsv", "tables", call, check, warns)
    for name, (data, argument, received) in _unreadable().items():
        yield refused(f"{name}, .csv", "tables", partial(_read, data, ".csv"), argument, received)
    for extension in (".parquet", ".arrow", ".feather", ".ipc", ".npy", ".npz"):
        for name, data in _no_such_format().items():
            call = partial(_read, data, extension)
            yield refused(f"{name}, {extension}", "tables", call, "table", "table")
    for name, (extension, received) in _extensions().items():
        call = partial(_read, b"a,b\n1,2\n", extension)
        yield refused(f"a file {name}", "tables", call, "table", received)
    for name, array in _arrays().items():
        call = partial(_read, _saved(array), ".npy")
        yield answered(f"an array of {name}, .npy", "tables", call, partial(_differs, _columns(array)))
    for name, (array, received) in _refused_arrays().items():
        yield refused(
            f"an array of {name}, .npy", "tables", partial(_read, _saved(array), ".npy"), "table", received
        )
    for name, (path, argument) in _paths().items():
        yield refused(f"read_table({name})", "tables", partial(_read_path, path), argument, argument)


def _readable() -> dict[str, tuple[bytes, Columns]]:
    plain: Columns = {"a": [1, 2], "b": [0.5, -3.0]}
    text = b"a,b\n1,0.5\n2,-3\n"
    return {
        "a plain table": (text, plain),
        "a byte order mark": (b"\xef\xbb\xbf" + text, plain),
        "Windows line ends": (text.replace(b"\n", b"\r\n"), plain),
        "line ends of the old Macintosh": (text.replace(b"\n", b"\r"), plain),
        "no line end at the end": (text[:-1], plain),
        "blank lines": (b"\n\na,b\n\n1,0.5\n\n2,-3\n\n", plain),
        "spaces around numbers and names": (b" a , b\n 1 , 0.5\n2 ,-3 \n", plain),
        "semicolons": (text.replace(b",", b";"), plain),
        "bars": (text.replace(b",", b"|"), plain),
        "quoted numbers": (b'"a","b"\n"1","0.5"\n"2","-3"\n', plain),
        "quoted line ends in a name": (b'"a\nb",c\n1,2\n', {"a\nb": [1], "c": [2]}),
        "quoted separators": (b'a,b\n"x,y",1\n"z",2\n', {"a": ["x,y", "z"], "b": [1, 2]}),
        "doubled quotes": (b'a,b\n"x""y",1\n', {"a": ['x"y'], "b": [1]}),
        "1 row": (b"a,b\n1,2\n", {"a": [1], "b": [2]}),
        "1 column": (b"a\n1\n2\n", {"a": [1, 2]}),
        "missing values": (b"a,b\n1,\n,2\n", {"a": [1, None], "b": [None, 2]}),
        "words for missing values": (
            b"a,b\nNA,1\nNaN,2\nnull,3\n4,None\n",
            {"a": [None, None, None, 4], "b": [1, 2, 3, None]},
        ),
        "only missing values": (b"a,b\n,1\n,2\n", {"a": [None, None], "b": [1, 2]}),
        "infinities":
            (b"a,b\ninf,1\n-inf,2\nInfinity,3\n", {"a": [math.inf, -math.inf, math.inf], "b": [1, 2, 3]}),
        "numbers beyond the range":
            (b"a,b\n1e400,1\n-1e400,2\n", {"a": [math.inf, -math.inf], "b": [1, 2]}),
        "numbers below the range": (b"a,b\n1e-400,1\n5e-324,2\n", {"a": [0.0, 5e-324], "b": [1, 2]}),
        "mixed types": (b"a,b\n1,1\nx,2\n", {"a": ["1", "x"], "b": [1, 2]}),
        "thousands separators": (b'a;b\n1,000;1\n2,000;2\n', {"a": ["1,000", "2,000"], "b": [1, 2]}),
        "thousands as points": (b"a,b\n1.000.000,1\n", {"a": ["1.000.000"], "b": [1]}),
        "percentages": (b"a,b\n5%,1\n", {"a": ["5%"], "b": [1]}),
        "dates": (b"a,b\n2020-01-01,1\n", {"a": [date(2020, 1, 1)], "b": [1]}),
        "booleans": (b"a,b\ntrue,1\nFalse,2\n", {"a": ["true", "False"], "b": [1, 2]}),
        "hexadecimal numbers": (b"a,b\n0x10,1\n", {"a": ["0x10"], "b": [1]}),
        "numbers with underscores": (b"a,b\n1_000,1\n", {"a": ["1_000"], "b": [1]}),
        "signs": (b"a,b\n+1.5,-0.0\n", {"a": [1.5], "b": [-0.0]}),
        "the largest whole number": (b"a,b\n9223372036854775807,1\n", {"a": [2**63 - 1], "b": [1]}),
        "whole numbers beyond 64 bits":
            (b"a,b\n9223372036854775808,1\n1,2\n", {"a": [2.0**63, 1.0], "b": [1, 2]}),
        "whole numbers of 400 digits": (b"a,b\n1" + b"0" * 400 + b",1\n", {"a": [math.inf], "b": [1]}),
        "17 digits": (b"a,b\n0.1000000000000000055,1\n", {"a": [0.1], "b": [1]}),
        "an empty name": (b",b\n0,1\n", {"": [0], "b": [1]}),
        "names beyond ASCII": ("höhe,質量\n1,2\n".encode(), {"höhe": [1], "質量": [2]}),
        "names that are numbers": (b"1,2\n3,4\n", {"1": [3], "2": [4]}),
        "1000 columns": (
            ",".join(f"c{k}" for k in range(1000)).encode() + b"\n" + b",".join([b"1"] * 1000) + b"\n",
            {f"c{k}": [1] for k in range(1000)},
        ),
    }  # fmt: skip


def _unreadable() -> dict[str, tuple[bytes, str, str]]:
    noise = np.random.default_rng(0).integers(128, 256, 400).astype(np.uint8).tobytes()
    return {
        "an empty file": (b"", "table", "empty"),
        "only line ends": (b"\n\n\n", "table", "empty"),
        "only spaces": (b"   \n  ", "table", "empty"),
        "only a byte order mark": (b"\xef\xbb\xbf", "table", "empty"),
        "only a header": (b"a,b\n", "table", "no rows"),
        "only a header without line end": (b"a,b", "table", "no rows"),
        "a row too short": (b"a,b\n1,2\n3\n", "row 2", "1 field"),
        "a row too long": (b"a,b\n1,2\n3,4,5\n", "row 2", "3 field"),
        "a separator at the end of each row": (b"a,b\n1,2,\n", "row 1", "3 field"),
        "a name twice": (b"a,b,a\n1,2,3\n", "'a'", "2 columns"),
        "two empty names": (b",,a\n1,2,3\n", "''", "2 columns"),
        "a quote never closed": (b'a,b\n"1,2\n3,4\n', "quote", "row 1"),
        "a quote in a number": (b'a,b\n1,2"\n3,4\n', "quote", "row"),
        "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "table", "UTF-16"),
        "Latin-1": ("höhe,b\n1,2\n".encode("latin-1"), "table", "0xf6"),
        "binary noise": (noise, "table", "0x"),
        "NUL bytes": (b"a,b\n1,\x002\n", "table", "NUL|0x00"),
        "only NUL bytes": (b"\x00" * 64, "table", "NUL|0x00"),
        "an image": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "table", "0x89"),
        "a compressed file": (b"\x1f\x8b\x08\x01\x02\x03", "table", "0x8b"),
        "a Parquet file": (b"PAR1\x15\x04\x15\x80\xffPAR1", "table", "0x80|0xff"),
    }


def _no_such_format() -> dict[str, bytes]:
    noise = np.random.default_rng(0).integers(0, 256, 400).astype(np.uint8).tobytes()
    return {
        "an empty file": b"",
        "text": b"a,b\n1,2\n",
        "binary noise": noise,
        "the magic of Parquet": b"PAR1" + noise[:40] + b"PAR1",
        "the magic of Arrow": b"ARROW1\x00\x00" + noise[:40] + b"ARROW1",
        "the magic of NumPy": b"\x93NUMPY\x01\x00" + noise[:40],
        "the magic of a zip archive": b"PK\x03\x04" + noise[:40],
    }


def _extensions() -> dict[str, tuple[str, str]]:
    return {
        "of a spreadsheet": (".xlsx", "'.xlsx'"),
        "of text": (".txt", "'.txt'"),
        "without an extension": ("", "''"),
        "compressed": (".csv.gz", "'.gz'"),
        "of JSON": (".json", "'.json'"),
        "of pickled objects": (".pkl", "'.pkl'"),
    }


def _arrays() -> dict[str, np.ndarray]:
    x = rows(3)
    return {
        "one row": x[:1],
        "one dimension": x[:, 0],
        "float16": x.astype(np.float16),
        "the other byte order": x.astype(">f8"),
        "Fortran order": np.asfortranarray(x),
        "unsigned bytes": np.arange(6, dtype=np.uint8).reshape(3, 2),
        "NaN and infinities": np.array([[math.nan, 1.0], [math.inf, -math.inf]]),
        "the largest number": np.full((2, 2), np.finfo(np.float64).max),
    }


def _refused_arrays() -> dict[str, tuple[np.ndarray, str]]:
    x = rows(3)
    return {
        "no rows": (x[:0], "no rows"),
        "no columns": (x[:, :0], "no columns"),
        "no dimensions": (np.array(1.0), r"\(\)"),
        "three dimensions": (x[None], r"\(1, 3, 2\)"),
        "complex numbers": (x + 1j, "complex128"),
        "text": (x.astype(str), "<U"),
        "dates": (np.zeros((3, 2), "datetime64[D]"), "datetime64|M8"),
        "objects": (np.array([[None, 1]], dtype=object), "Python objects"),
    }


def _paths() -> dict[str, tuple[Any, str]]:
    return {
        "an absent file": ("/nonexistent/table.csv", "does not exist"),
        "a folder": ("/", "not a file"),
        "None": (None, "path is a NoneType"),
        "a number": (3, "path is a int"),
        "bytes": (b"table.csv", "path is a bytes"),
        "an empty path": ("", "is not a file"),
        "a path with NUL": ("a\x00.csv", "NUL|null|does not exist"),
        "a path of 5000 characters": ("a" * 5000 + ".csv", "too long|does not exist"),
    }


def _read(data: bytes, extension: str) -> Any:
    with tempfile.TemporaryDirectory(prefix="diffeo-hostile-") as folder:
        path = Path(folder) / f"table{extension}"
        path.write_bytes(data)
        return read_table(path)


def _read_path(path: Any) -> Any:
    return read_table(path)


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _columns(array: np.ndarray) -> Columns:
    wide = array if array.ndim == 2 else array[:, None]
    return {f"x{k}": wide[:, k].tolist() for k in range(wide.shape[1])}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    # A column with a fraction, an infinity or no value at all makes numbers of its whole ones.
    return one == other and isinstance(one, str) == isinstance(other, str)


def _differs(wanted: Columns, frame: Any) -> str:
    found = frame.to_dict(as_series=False)
    if list(found) != list(wanted):
        return f"has columns {list(found)[:5]}, where {list(wanted)[:5]} is right"
    for name, column in wanted.items():
        for one, other in zip(found[name], column, strict=False):
            if not _same(one, other):
                return f"column {name!r} holds {one!r}, where {other!r} is right"
        if len(found[name]) != len(column):
            return f"column {name!r} has {len(found[name])} rows, where {len(column)} is right"
    return ""
