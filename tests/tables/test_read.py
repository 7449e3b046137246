"""Reading: every format gives the same table, and every bad input its own message."""

import io
import sys
import tracemalloc
import types

import numpy as np
import polars as pl
import pytest

from diffeo.errors import DataError
from diffeo.tables import delimited, iter_batches, open_writer, read_table


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pl.DataFrame({f"x{k}": rng.normal(size=300) * 10.0 ** (3 * k) for k in range(3)})


def standard_input(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))


@pytest.mark.parametrize("extension", ["csv", "tsv", "parquet", "arrow", "feather", "ipc", "npy"])
def test_what_is_written_is_read_back_exactly(tmp_path, frame, extension):
    path = tmp_path / f"table.{extension}"
    with open_writer(path) as write:
        for part in frame.iter_slices(70):
            write(part)
    assert read_table(path).equals(frame)
    batches = list(iter_batches(path, frame.columns, rows=64))
    assert [batch.height for batch in batches[:4]] == [64] * 4
    assert pl.concat(batches).equals(frame)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]  # nothing is left beside it


def test_npz_holds_one_array_or_one_named_X(tmp_path, frame):
    values = frame.to_numpy()
    np.savez(tmp_path / "one.npz", data=values)
    np.savez(tmp_path / "two.npz", X=values, y=values[:, 0])
    np.savez(tmp_path / "none.npz", a=values, b=values)
    assert read_table(tmp_path / "one.npz").equals(frame)
    assert read_table(tmp_path / "two.npz").equals(frame)
    with pytest.raises(DataError, match="2 arrays: 'a', 'b'; expected a single one, or one named 'X'"):
        read_table(tmp_path / "none.npz")


def test_a_vector_is_one_column_and_a_structured_array_has_names(tmp_path):
    np.save(tmp_path / "v.npy", np.arange(3, dtype=">f4"))
    assert read_table(tmp_path / "v.npy").to_dict(as_series=False) == {"x0": [0.0, 1.0, 2.0]}
    np.save(tmp_path / "s.npy", np.array([(1.5, 2), (2.5, 3)], dtype=[("a", "f8"), ("b", "i4")]))
    assert read_table(tmp_path / "s.npy").columns == ["a", "b"]


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "g", ">i2", "?"])
@pytest.mark.parametrize("extension", ["npy", "npz"])
def test_an_array_keeps_its_precision_whatever_its_byte_order(tmp_path, dtype, extension):
    values = np.array([[0.1, 2.0], [0.5, -3.0]]).astype(dtype)
    path = tmp_path / f"a.{extension}"
    np.save(path, values) if extension == "npy" else np.savez(path, X=values)
    found = read_table(path)
    assert found.to_numpy().tolist() == values.tolist()
    if values.dtype.itemsize in (4, 8) and values.dtype.kind == "f":
        assert found.dtypes == [{4: pl.Float32, 8: pl.Float64}[values.dtype.itemsize]] * 2


def test_standard_input_is_csv(monkeypatch, frame):
    standard_input(monkeypatch, frame.write_csv().encode())
    assert read_table("-").equals(frame)


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2.5\n3,4.5\n",
        b"\xef\xbb\xbfa,b\n1,2.5\n3,4.5\n",  # byte order mark
        b"a,b\r\n1,2.5\r\n3,4.5\r\n",  # Windows
        b"a,b\r1,2.5\r3,4.5\r",  # the old Macintosh
        b"a,b\n1,2.5\n3,4.5",  # no line end at the end
        b'"a","b"\n"1","2.5"\n"3","4.5"\n',
        b" a , b \n 1 , 2.5\n3, 4.5 \n",
        b"\n\na,b\n\n1,2.5\n\n\n3,4.5\n\n\n",  # blank lines
        b"a;b\n1;2.5\n3;4.5\n",
        b"a\tb\n1\t2.5\n3\t4.5\n",
        b"a|b\n1|2.5\n3|4.5\n",
    ],
)
@pytest.mark.parametrize("block", [5, 7, 2**20])
def test_csv_dialects_and_block_sizes_agree(tmp_path, monkeypatch, content, block):
    monkeypatch.setattr(delimited.Delimited.__init__, "__defaults__", (block,))
    (tmp_path / "t.csv").write_bytes(content)
    table = read_table(tmp_path / "t.csv")
    assert table.to_dict(as_series=False) == {"a": [1, 3], "b": [2.5, 4.5]}
    assert table.dtypes == [pl.Int64, pl.Float64]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("block", [4, 5, 7, 2**20])
def test_blank_lines_are_missing_values_of_a_single_column(tmp_path, monkeypatch, block, end):
    monkeypatch.setattr(delimited.Delimited.__init__, "__defaults__", (block,))
    lines = b'\n\n"a"\n\n1\n\n\n2.5\n""\n3\n\n\n'
    (tmp_path / "t.csv").write_bytes(lines.replace(b"\n", end))
    assert read_table(tmp_path / "t.csv")["a"].to_list() == [None, 1, None, None, 2.5, None, 3]
    assert sum(part.height for part in iter_batches(tmp_path / "t.csv", ["a"], rows=2)) == 7


@pytest.mark.parametrize("values", [[1.5, None, float("nan"), 2.0, None], ["x", None, None, "NA", None]])
def test_a_single_column_with_holes_is_read_back_as_it_was_written(tmp_path, values):
    column = pl.Series("a", values, strict=False)
    with open_writer(tmp_path / "t.csv") as write:
        write(column.to_frame()[:2])
        write(column.to_frame()[2:])
    found = read_table(tmp_path / "t.csv")["a"]
    assert found.to_list() == (column.fill_nan(None) if column.dtype.is_float() else column).to_list()


@pytest.mark.parametrize(
    "name",
    [
        "naïve ünïcode",
        'say ""hi""',
        "two\nlines",
        "<script>alert(1)</script>",
        "=1+1",
        "a,b",
        "-x",
        "[red]",
    ],
)
def test_hostile_names_survive(tmp_path, name):
    (tmp_path / "t.csv").write_text(f'"{name}",plain\n1,2\n', encoding="utf-8")
    assert read_table(tmp_path / "t.csv").columns == [name.replace('""', '"'), "plain"]


def test_texts_that_mean_no_value_are_missing(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\nNA,1\n,2\nnan,3\nNULL,4\n5,6\n")
    assert read_table(tmp_path / "t.csv")["a"].to_list() == [None] * 4 + [5]


def test_a_number_beyond_float64_is_infinite(tmp_path):
    (tmp_path / "t.csv").write_text("a\n1e400\n-1e400\n1.0\n")
    assert read_table(tmp_path / "t.csv")["a"].to_list() == [float("inf"), float("-inf"), 1.0]


@pytest.mark.parametrize("first", [2**64 - 1, 2**64 + 1, -(2**63) - 1, 2**127 - 1, 10**38, 10**45])
def test_whole_numbers_beyond_int64_are_told_apart(tmp_path, first):
    numbers = [first, first - 1, first - 2]
    (tmp_path / "t.csv").write_text("k\n" + "".join(f"{number}\n" for number in numbers) + "NA\n")
    found = read_table(tmp_path / "t.csv")["k"]
    assert found.to_list()[:3] == (numbers if first < 2**127 else [str(number) for number in numbers])
    (tmp_path / "t.csv").write_text(f"k\n{first}\n0.5\n")
    assert read_table(tmp_path / "t.csv")["k"].to_list() == [float(first), 0.5]


BAD = {
    "a missing file": ("missing.csv", None, r"missing\.csv' does not exist"),
    "an unknown extension": ("t.xlsx", b"a", r"extension '\.xlsx'; expected one of \.csv, .*\.npz"),
    "no extension": ("table", b"a", r"extension ''; expected one of"),
    "an empty file": ("t.csv", b"", "is empty"),
    "an empty parquet": ("t.parquet", b"", "is empty"),
    "blank lines only": ("t.csv", b"\n\n\n", "is empty; expected a header"),
    "a header only": ("t.csv", b"a,b\n", r"2 column\(s\) and no rows"),
    "a repeated name": ("t.csv", b"a,b,a\n1,2,3\n", r"2 columns named 'a' \(columns 1 and 3\)"),
    "a short row": ("t.csv", b"a,b\n1,2\n3\n", r"row 2 has 1 field\(s\); expected 2"),
    "a long row": ("t.csv", b"a,b\n1,2\n3,4\n5,6,7\n", r"row 3 has 3 field\(s\); expected 2"),
    "a quote left open": ("t.csv", b'a,b\n1,2\n"3,4\n5,6\n', "ends inside a double quote that row 2"),
    "a quote inside a field": ("t.csv", b'a,b\n1,2\n5" pipe,4\n6" pipe,1\n', "row 2 has|rows 1 to"),
    "Latin-1": ("t.csv", "a,b\n1,é\n".encode("latin-1"), "is not UTF-8 text: it holds the byte 0xe9"),
    "UTF-16": ("t.csv", "a,b\n1,2\n".encode("utf-16"), "is UTF-16 text; expected UTF-8"),
    "no parquet": ("t.parquet", b"not parquet at all", "cannot be read as PARQUET"),
    "no arrow": ("t.arrow", b"not arrow at all", "cannot be read as ARROW"),
    "no array": ("t.npy", b"\x93NUMPY\x01\x00garbage", "cannot be read as a NumPy array"),
    "no archive": ("t.npz", b"PK\x03\x04garbage", "cannot be read as a NumPy array"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named(tmp_path, case):
    name, content, message = BAD[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)
    with pytest.raises(DataError, match=message):
        list(iter_batches(tmp_path / name))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.zeros(()), r"shape \(\)"),
        (np.array(["a", "b"]), "expected real numbers"),
        (np.zeros((2, 2), complex), "expected real numbers"),
        (np.array([[None, 1]], dtype=object), "Python objects, which are never loaded"),
        (np.zeros((4, 0)), "has no columns"),
        (np.zeros((0, 4)), "no rows"),
    ],
)
def test_arrays_that_are_no_tables(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "a.npy")


def test_a_folder_is_no_table_and_a_near_name_is_suggested(tmp_path):
    with pytest.raises(DataError, match="is not a file"):
        read_table(tmp_path)
    (tmp_path / "wine.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"Did you mean 'wine\.csv'\?"):
        read_table(tmp_path / "wien.csv")


def test_a_quote_that_never_closes_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "_LONGEST_ROW", 10_000)
    monkeypatch.setattr(delimited.Delimited.__init__, "__defaults__", (1000,))
    (tmp_path / "t.csv").write_bytes(b'a,b\n1,"2\n' + b"3,4\n" * 100_000)
    with pytest.raises(DataError, match="row 1 does not end within"):
        list(iter_batches(tmp_path / "t.csv"))


def test_memory_does_not_grow_with_the_length(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited.Delimited.__init__, "__defaults__", (2**16,))
    path = tmp_path / "t.csv"
    peaks = []
    for copies in (1, 8):
        path.write_bytes(b"a,b\n" + b"1.25,2.5\n" * 20_000 * copies)
        tracemalloc.start()
        rows = sum(batch.height for batch in iter_batches(path, ["a", "b"]))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert rows == 20_000 * copies
    assert peaks[1] < 1.2 * peaks[0]
