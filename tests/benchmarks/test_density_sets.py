import gzip
import hashlib
import http.server
import json
import threading

import numpy as np
import polars as pl
import pytest

from benchmarks.density.protocol import Table, Unusable, prepared, split
from benchmarks.density.sets import photographs, sources, text
from benchmarks.density.sets.published import Published, Refused, fetch, fetch_all, published

RNG = np.random.default_rng(0)


# -- protocol ------------------------------------------------------------------------------------


def test_columns_that_are_no_continuous_quantity_are_left_out():
    n = 4_000
    a = RNG.normal(size=n)
    columns = {
        "a": a,
        "twin": 2 * a + 0.01 * RNG.normal(size=n),
        "constant": np.ones(n),
        "few": RNG.integers(0, 19, n),
        "zeros": np.where(RNG.random(n) < 0.2, 0.0, RNG.lognormal(size=n)),
        "holes": np.where(RNG.random(n) < 0.3, np.nan, a),
        "count": RNG.poisson(40, n),
        "b": np.where(np.arange(n) == 7, np.nan, RNG.normal(size=n)),
    }
    made = prepared(Table(np.stack(list(columns.values()), 1), tuple(columns)))
    assert made.table.columns == ("a", "count", "b")
    assert made.table.x.shape == (n - 1, 3)
    assert made.spread == ("count",)
    assert made.dropped == {
        "with more than a fifth of holes": ("holes",),
        "rows with holes": ("1",),
        "discrete": ("constant", "few", "zeros"),
        "correlated above 0.98": ("twin",),
    }


def test_ties_are_spread_evenly_over_cells_that_do_not_overlap():
    n = 20_000
    whole = RNG.poisson(30, n) * 0.1  # steps of 0.1, with rounding of its own
    free = RNG.normal(size=n)
    x = prepared(Table(np.stack([whole, free], 1), ("whole", "free"))).table.x
    assert len(np.unique(x[:, 0])) == n
    np.testing.assert_array_equal(x[:, 1], free)
    within = (x[:, 0] - whole) / 0.1
    assert within.min() == pytest.approx(-0.5, abs=0.01)
    assert within.max() == pytest.approx(0.5, abs=0.01)
    assert abs(within.mean()) < 0.01
    assert x[:, 0].min() >= whole.min(), "a column keeps its range"
    assert x[:, 0].max() <= whole.max()
    again = prepared(Table(np.stack([whole, free], 1), ("whole", "free"))).table.x
    np.testing.assert_array_equal(x, again)


def test_an_outlier_is_spread_no_wider_than_the_others():
    whole = np.append(RNG.poisson(30, 5_000), [900, 900]).astype(float)
    x = prepared(Table(np.stack([whole, RNG.normal(size=5_002)], 1), ("whole", "free"))).table.x
    assert np.abs(x[-2:, 0] - 900).max() <= 0.5


def test_a_table_without_continuous_columns_is_named_unusable():
    with pytest.raises(Unusable, match="0 continuous columns"):
        prepared(Table(RNG.integers(0, 3, (100, 4)).astype(float), tuple("abcd")))


def test_splits_are_disjoint_the_same_for_all_and_kept_where_published():
    table = Table(np.arange(1000.0)[:, None].repeat(2, 1), ("a", "b"))
    first, again, other = split(table, 0), split(table, 0), split(table, 1)
    assert [len(part) for part in (first.train, first.validation, first.test)] == [720, 80, 200]
    joined = np.concatenate([first.train, first.validation, first.test])[:, 0]
    np.testing.assert_array_equal(np.sort(joined), np.arange(1000))
    np.testing.assert_array_equal(first.test, again.test)
    assert (first.test != other.test).any()
    fixed = Table(table.x, table.columns, parts=(700, 200, 100))
    np.testing.assert_array_equal(split(fixed, 3).test, table.x[900:])


# -- sets ----------------------------------------------------------------------------------------


def found_in(folder):
    return {(s.name, s.native): s for s in sources() if s.file and s.lies_in(folder)}


def test_sets_of_a_folder_are_read(folder):
    found = found_in(folder)
    assert len({(s.name, s.native) for s in sources()}) == len(sources())
    assert found["adbench 14_glass", False].read(folder).x.shape == (60, 3)
    assert found["uci abalone", False].read(folder).x.shape == (90, 3)
    assert found["uci abalone", True].read(folder)["c0"].to_list()[:3] == ["M", "F", "I"]
    assert found["miniboone", False].read(folder).parts == (45, 5, 50)
    assert found["sbibm slcp", False].read(folder).x.shape == (80, 5)
    adult = found["adult", True].read(folder)
    assert adult.shape == (80, 15)
    assert adult["native-country"].null_count() == 80
    assert adult["income"].unique().to_list() == ["<=50K"]
    assert found["adult", False].read(folder).columns[:2] == ("age", "fnlwgt")
    assert found["compas", True].read(folder).columns == text.COMPAS
    assert found["compas, all columns", True].read(folder)["c_jail_in"].dtype == pl.Datetime


def test_photographs_are_cut_into_patches(folder):
    image = pytest.importorskip("PIL.Image")
    for part, count in (("train", 22), ("test", 2)):
        (folder / "bsds300" / part).mkdir()
        for k in range(count):
            grey = RNG.integers(0, 256, (12, 15), dtype=np.uint8)
            image.fromarray(grey).save(folder / "bsds300" / part / f"{k}.jpg")
    table = photographs.bsds300((50, 10, 20), folder)
    assert table.x.shape == (80, 63)
    assert table.parts == (50, 10, 20)
    assert np.abs(table.x).max() < 1
    np.testing.assert_array_equal(table.x, photographs.bsds300((50, 10, 20), folder).x)


def test_bundled_sets_are_read():
    bundled = [source for source in sources() if not source.file]
    assert {source.name for source in bundled} >= {"iris", "wine", "breast cancer", "diabetes", "linnerud"}
    for source in bundled:
        rows = source.read(None)
        assert (rows.width if source.native else rows.x.shape[1]) > 3


# -- downloads -----------------------------------------------------------------------------------


@pytest.fixture
def server():
    """A server on this machine that publishes one file, and what it was asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            body = b"1,2\n3,4\n"
            self.send_response(200 if self.path.startswith("/there") else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_published_files_are_fetched_once_and_checked(server, tmp_path):
    url = f"http://127.0.0.1:{server.server_port}"
    digest = hashlib.sha256(b"1,2\n3,4\n").hexdigest()
    plain = Published("set/plain.csv", f"{url}/there.csv", 8, digest)
    packed = Published("set/packed.csv.gz", f"{url}/there.csv", 8, digest)
    for source in (plain, packed):
        assert fetch(source, tmp_path)
        assert not fetch(source, tmp_path)
    assert server.asked == ["/there.csv"] * 2
    assert (tmp_path / "set/plain.csv").read_bytes() == b"1,2\n3,4\n"
    assert gzip.decompress((tmp_path / "set/packed.csv.gz").read_bytes()) == b"1,2\n3,4\n"
    (tmp_path / "set/plain.csv").write_bytes(b"1,2\n3,5\n")
    assert fetch(plain, tmp_path), "a file that is there and wrong is fetched again"
    wrong = {
        "SHA-256": Published("set/wrong.csv", f"{url}/there.csv", 8, "0" * 64),
        "bytes": Published("set/long.csv", f"{url}/there.csv", 7, digest),
        "404": Published("set/gone.csv", f"{url}/gone.csv", 8, digest),
        "could not be read": Published("set/off.csv", "http://127.0.0.1:9/x", 8, digest),
    }
    for words, source in wrong.items():
        with pytest.raises(Refused, match=words):
            fetch(source, tmp_path)
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["packed.csv.gz", "plain.csv"]
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps([vars(plain), vars(wrong["404"])]))
    lines = list(fetch_all(tmp_path, path=listed))
    assert lines[0].startswith("REFUSED set/gone.csv")
    assert lines[1].startswith("0 files fetched, 1 were there, 1 refused")


def test_the_list_of_sources_names_files_that_loaders_read():
    listed = published()
    known = {source.file for source in sources()}
    for source in listed:
        assert source.url.startswith("https://")
        assert len(source.sha256) == 64
        assert source.file in known or source.file.startswith(("bsds300/", "adult/"))
    assert sum(source.file.startswith("bsds300/train") for source in listed) == 200
