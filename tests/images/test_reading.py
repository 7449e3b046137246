"""Images from every source, and what is said of those that cannot be read."""

import gzip
import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from diffeo.errors import ConfigError, DataError, DtypeError, ShapeError
from diffeo.images import Images, read

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def idx(values, kind=8):
    head = bytes([0, 0, kind, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return head + values.tobytes()


# -- numpy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["NHW", "NCHW", "NHWC"])
def test_arrays_are_read_in_each_layout(tmp_path, layout):
    values = {"NHW": GREY, "NCHW": COLOUR.transpose(0, 3, 1, 2), "NHWC": COLOUR}[layout]
    np.save(tmp_path / "x.npy", values)
    expected = GREY[:, None] if layout == "NHW" else COLOUR.transpose(0, 3, 1, 2)
    assert np.array_equal(read(tmp_path / "x.npy").pixels, expected)
    assert np.array_equal(read(values.astype(np.int64)).pixels, expected)


def test_a_layout_that_could_be_two_is_asked_for():
    values = np.zeros((6, 3, 8, 3), np.uint8)
    with pytest.raises(DataError, match=r"two ways.*layout="):
        read(values)
    assert read(values, layout="NHWC").shape == (3, 3, 8)
    assert read(values, layout="NCHW").shape == (3, 8, 3)
    assert read(np.zeros((6, 1, 1, 3), np.uint8), layout="NHWC").shape == (3, 1, 1)


def test_levels_are_those_that_are_said():
    assert read(GREY > 100).levels == 2
    assert read(GREY // 16, levels=16).levels == 16
    with pytest.raises(DataError, match=r"images\[0\] has a pixel of .*expected 0 to 15 with levels=16"):
        read(GREY, levels=16)


def test_an_npz_has_splits_and_labels(tmp_path):
    y = np.arange(4)
    np.savez(tmp_path / "m.npz", x_train=GREY[:4], y_train=y, x_test=GREY[4:], y_test=y[:2, None])
    train, test = read(tmp_path / "m.npz"), read(tmp_path / "m.npz", split="test")
    assert np.array_equal(train.pixels[:, 0], GREY[:4])
    assert np.array_equal(test.pixels[:, 0], GREY[4:])
    assert train.labels.tolist() == [0, 1, 2, 3]
    assert test.labels.tolist() == [0, 1]
    np.savez(tmp_path / "one.npz", faces=GREY, labels=np.arange(6))
    assert len(read(tmp_path / "one.npz")) == 6


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (GREY / 255, "dtype float64; expected whole pixel levels.*rint"),
        (GREY.astype(np.uint16) * 257, r"levels from \d+ to \d+ \(uint16\).*divide sixteen bits by 257"),
        (GREY.astype(np.int16) - 200, "levels from -"),
        (np.zeros((3, 4), np.uint8), r"has shape \(3, 4\); expected \(images, height, width\)"),
        (np.zeros((3, 4, 4, 4), np.uint8), "so 4 channels; expected 1 .*alpha"),
        (np.zeros((0, 4, 4), np.uint8), "there is no image"),
        (np.array([["a"]]), "dtype <U1"),
    ],
)
def test_an_array_that_is_no_images_is_told(tmp_path, values, said):
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "x.npy")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_no_pickle_in_an_npy_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez("x.npz", x=np.array([Trap()], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError, match=r"cannot be read as numpy's|expected one array of images"):
            read(name)
    assert not os.path.exists("trapped")


def test_a_damaged_npz_and_one_without_images(tmp_path):
    np.savez(tmp_path / "a.npz", u=np.zeros(3), v=np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"holds u \(3,\), v \(3, 3\); expected one array of images"):
        read(tmp_path / "a.npz")
    data = (tmp_path / "a.npz").read_bytes()
    for broken in (data[:40], b"", data[:-30]):
        (tmp_path / "b.npz").write_bytes(broken)
        with pytest.raises(DataError, match=r"b.npz.* cannot be read as numpy's file"):
            read(tmp_path / "b.npz")


# -- IDX --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_files_are_read(tmp_path, packed):
    for name, values in (
        ("train-images-idx3-ubyte", GREY),
        ("train-labels-idx1-ubyte", np.arange(6, dtype=np.uint8)),
        ("t10k-images-idx3-ubyte", GREY[:2]),
    ):
        data = gzip.compress(idx(values)) if packed else idx(values)
        (tmp_path / (name + ".gz" * packed)).write_bytes(data)
    train, test = read(tmp_path), read(tmp_path, split="test")
    assert np.array_equal(train.pixels[:, 0], GREY)
    assert train.labels.tolist() == list(range(6))
    assert test.labels is None
    assert len(test) == 2
    one = read(tmp_path / ("train-images-idx3-ubyte" + ".gz" * packed))
    assert np.array_equal(one.pixels, train.pixels)
    assert np.array_equal(one.labels, train.labels)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "begins with the bytes of an empty file"),
        (b"%PDF-1.4 and so on", "begins with the bytes 25 50 44 46; expected an IDX file .*2051"),
        (idx(GREY[0]), "begins with the bytes 00 00 08 02"),
        (idx(GREY, kind=9), "begins with the bytes 00 00 09 03"),
        (idx(GREY)[:-1], "cut short.*119 of 120 bytes"),
        (idx(GREY)[:9], "cut short"),
        (idx(GREY) + b"more", "goes on after its 120 numbers"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "declares .* numbers.*header is damaged"),
        (gzip.compress(idx(GREY))[:-20], "cut short or damaged"),
        (gzip.compress(idx(GREY))[:12] + b"\xff" * 100, "cut short or damaged"),
    ],
)
def test_a_damaged_idx_file_is_told(tmp_path, data, said):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(data)
    with pytest.raises(DataError, match=said) as raised:
        read(tmp_path / "a-images-idx3-ubyte")
    assert "a-images-idx3-ubyte" in str(raised.value)


def test_labels_of_another_set_are_told(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(GREY))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    with pytest.raises(DataError, match=r"5 labels, .* 6 images"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"no t10k-images-idx3-ubyte"):
        read(tmp_path, split="test")


# -- CIFAR-10 ---------------------------------------------------------------------------------------

ROWS = RNG.integers(0, 256, (4, 3072), dtype=np.uint8)
LABELS = [3, 1, 4, 9]
NAMES = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]


def pickled(protocol=2, rows=ROWS, labels=LABELS):
    return pickle.dumps({b"data": rows, b"labels": labels, b"batch_label": b"batch"}, protocol=protocol)


def binary():
    return np.hstack([np.array(LABELS, np.uint8)[:, None], ROWS]).tobytes()


def archive(path, files, folder="cifar-10-batches-py"):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("version", ["python", "binary"])
@pytest.mark.parametrize("packed", [False, True])
def test_cifar_is_read_in_both_versions(tmp_path, version, packed):
    suffix, data = ("", pickled()) if version == "python" else (".bin", binary())
    files = {name + suffix: data for name in NAMES}
    place = tmp_path
    if packed:
        place = archive(tmp_path / "cifar.tar.gz", {**files, "readme.html": b"hello"})
    else:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
    train, test = read(place), read(place, split="test")
    assert (len(train), len(test), train.shape) == (20, 4, (3, 32, 32))
    assert np.array_equal(test.pixels, ROWS.reshape(-1, 3, 32, 32))
    assert test.labels.tolist() == LABELS
    assert test.classes[3] == "cat"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_a_batch_is_read_whatever_protocol_wrote_it(tmp_path, protocol):
    (tmp_path / "data_batch_1").write_bytes(pickled(protocol))
    assert np.array_equal(read(tmp_path / "data_batch_1").pixels, ROWS.reshape(-1, 3, 32, 32))


def test_a_batch_of_python_2_is_read(tmp_path):
    """Text of Python 2 is written as bytes without a type: protocol 2 with short binary strings."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def array():
        rest = b"T" + len(ROWS.tobytes()).to_bytes(4, "little") + ROWS.tobytes()
        dtype = (
            b"cnumpy\ndtype\n"
            + text(b"u1")
            + b"K\x00K\x01\x87R(K\x03"
            + text(b"|")
            + b"NNN"
            + b"J"
            + b"\xff" * 4
        )
        dtype += b"J" + b"\xff" * 4 + b"K\x00tb"
        made = (
            b"cnumpy.core.multiarray\n_reconstruct\n"
            + b"cnumpy\nndarray\n"
            + b"K\x00\x85"
            + text(b"b")
            + b"\x87R"
        )
        return made + b"(K\x01K\x04M\x00\x0c\x86" + dtype + b"\x89" + rest + b"tb"

    labels = b"](" + b"".join(b"K" + bytes([label]) for label in LABELS) + b"e"
    data = b"\x80\x02}(" + text(b"data") + array() + text(b"labels") + labels + b"u."
    (tmp_path / "test_batch").write_bytes(data)
    found = read(tmp_path / "test_batch")
    assert np.array_equal(found.pixels, ROWS.reshape(-1, 3, 32, 32))
    assert found.labels.tolist() == LABELS


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_execute_is_refused_and_does_not(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Trap(), b"labels": []}, protocol=protocol))
    with pytest.raises(DataError, match=r"asks for \w+.mkdir, .*not executed"):
        read("test_batch")
    assert not os.path.exists("trapped")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no pickle that can be read"),
        (pickled()[:-200], "no pickle that can be read"),
        (pickle.dumps([1, 2]), "holds a list; expected a batch of CIFAR-10"),
        (pickle.dumps({b"data": 7}), "int as its data"),
        (pickled(rows=ROWS[:, :100]), r"\(4, 100\) as its data"),
        (pickled(rows=ROWS.astype(np.int32)), "not of unsigned bytes"),
        (pickled(rows=np.array([[{}]], dtype=object)), "not of unsigned bytes"),
        (pickled(labels=LABELS[:2]), "as its labels, not 4 whole numbers"),
        (pickled(labels=["a"] * 4), "as its labels"),
        (pickled(labels=[3, 1, 4, 10]), r"labels\[3\] is 10"),
    ],
)
def test_a_damaged_batch_is_told(tmp_path, data, said):
    (tmp_path / "test_batch").write_bytes(data)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "test_batch")


def test_a_damaged_archive_and_a_missing_batch(tmp_path):
    whole = archive(tmp_path / "a.tar.gz", dict.fromkeys(NAMES[:3], pickled()))
    with pytest.raises(DataError, match=r"has no data_batch_4 or data_batch_4.bin"):
        read(whole)
    (tmp_path / "b.tar.gz").write_bytes(whole.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"cannot be read as an archive|no data_batch"):
        read(tmp_path / "b.tar.gz")
    (tmp_path / "data_batch_1.bin").write_bytes(binary()[:-1])
    with pytest.raises(DataError, match=r"12,291 bytes; expected a multiple of 3,073"):
        read(tmp_path / "data_batch_1.bin")


# -- the value itself -------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    found = read("digits")
    assert np.array_equal(found.pixels[:, 0], load_digits().images)
    assert (found.levels, found.count_of_classes) == (17, 10)


def test_a_split_has_every_image_once():
    images = Images(np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1), labels=np.arange(20) % 3)
    rest, held = images.split(0.25, seed=3)
    assert (len(rest), len(held)) == (15, 5)
    assert sorted([*rest.pixels.flatten(), *held.pixels.flatten()]) == list(range(20))
    assert held.names == tuple(f"images[{k}]" for k in held.pixels.flatten())
    assert np.array_equal(held.labels, held.pixels.flatten() % 3)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"pixels": GREY[:, None].astype(float)}, DtypeError, "array of float64"),
        ({"pixels": [1]}, DtypeError, "pixels is list"),
        ({"pixels": GREY}, ShapeError, "expected .images, channels, height, width"),
        ({"levels": 1}, ConfigError, "levels=1"),
        ({"labels": np.zeros(5, int)}, ShapeError, r"expected \(6,\)"),
        ({"labels": np.zeros(6)}, DtypeError, "whole numbers counted from 0"),
        ({"labels": np.full(6, -1)}, DataError, r"labels\[0\] is -1"),
        ({"labels": np.full(6, 2), "classes": ("a", "b")}, DataError, "expected 0 to 1"),
        ({"names": ("a",)}, ShapeError, "names has 1 entries"),
    ],
)
def test_images_say_what_they_cannot_be(arguments, error, said):
    with pytest.raises(error, match=said):
        Images(**{"pixels": GREY[:, None], **arguments})


def test_a_source_that_is_none_is_told(tmp_path):
    with pytest.raises(DataError, match=r"does not exist"):
        read(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"source is a int"):
        read(7)
    with pytest.raises(ConfigError, match=r"split='valid'"):
        read("digits", split="valid")
