"""Images from every source, and what is said of those that cannot be read."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import zlib

import numpy as np
import pytest

from diffeo.errors import ConfigError, DataError, DtypeError, ShapeError
from diffeo.images import Images, read

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def picture(path, values, **options):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def idx(values, kind=8):
    head = bytes([0, 0, kind, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return head + values.tobytes()


# -- folders ----------------------------------------------------------------------------------------


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    for k in (2, 0, 1):
        picture(tmp_path / f"{k}.png", COLOUR[k])
    (tmp_path / "notes.txt").write_text("not an image")
    found = read(tmp_path)
    assert found.names == ("0.png", "1.png", "2.png")
    assert np.array_equal(found.pixels, COLOUR[:3].transpose(0, 3, 1, 2))
    assert found.labels is None
    assert found.levels == 256


def test_sub_folders_are_classes(tmp_path):
    for k in range(6):
        picture(tmp_path / ("cats" if k < 2 else "dogs") / f"{k}.png", GREY[k])
    found = read(tmp_path)
    assert found.classes == ("cats", "dogs")
    assert found.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert found.names[2] == "dogs/2.png"
    assert found.shape == (1, 5, 4)


def test_train_and_test_folders_are_splits_and_not_classes(tmp_path):
    for k in range(6):
        picture(tmp_path / ("train" if k < 4 else "test") / "a" / f"{k}.png", GREY[k])
    assert len(read(tmp_path)) == 4
    assert len(read(tmp_path, split="test")) == 2


def test_a_split_that_is_not_there_is_not_all_of_it(tmp_path):
    for k in range(3):
        picture(tmp_path / "loose" / f"{k}.png", GREY[k])
        picture(tmp_path / "half" / "test" / f"{k}.png", GREY[k])
    np.savez(tmp_path / "train.npz", x_train=GREY)
    np.savez(tmp_path / "whole.npz", x=GREY)
    np.save(tmp_path / "whole.npy", GREY)
    for source in (GREY, Images(GREY[:, None]), "digits", tmp_path / "loose", tmp_path / "whole.npy"):
        with pytest.raises(DataError, match="which is not divided into train and test"):
            read(source, split="test")
    for source in (tmp_path / "train.npz", tmp_path / "whole.npz"):
        with pytest.raises(DataError, match="no images of the split 'test'; expected x_test"):
            read(source, split="test")
    assert len(read(tmp_path / "half", split="test")) == 3
    with pytest.raises(DataError, match="not divided"):
        read(tmp_path / "half", split="train")


def test_a_folder_that_is_called_digits_is_read(tmp_path, monkeypatch):
    picture(tmp_path / "digits" / "a.png", GREY[0])
    monkeypatch.chdir(tmp_path)
    assert read("digits").names == ("a.png",)


def png(path, depth, colour_type, raw):
    """Write a PNG of one 4 × 4 image by hand, since Pillow writes none of such depths."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 4, 4, depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize(
    ("depth", "colour_type", "row", "said"),
    [
        (16, 2, bytes(24), "16 bits a channel; expected 8-bit grey or RGB: reduce it to 8"),
        (4, 0, bytes(2), "4 bits a channel.*its 16 levels would be spread over 256.*levels=16"),
    ],
)
def test_a_png_of_another_depth_is_named(tmp_path, depth, colour_type, row, said):
    png(tmp_path / "deep.png", depth, colour_type, (b"\0" + row) * 4)
    with pytest.raises(DataError, match=said) as raised:
        read(tmp_path)
    assert "deep.png" in str(raised.value)


def test_jpeg_is_read_as_pillow_decodes_it(tmp_path):
    from PIL import Image

    path = picture(tmp_path / "a.JPG", COLOUR[0], format="JPEG")
    with Image.open(path) as image:
        expected = np.asarray(image)
    assert np.array_equal(read(tmp_path).pixels[0], expected.transpose(2, 0, 1))


def alpha(path):
    picture(path, np.dstack([COLOUR[0], GREY[0]]))


def sixteen(path):
    picture(path, GREY[0].astype(np.uint16) * 257)


def palette(path):
    from PIL import Image

    Image.fromarray(COLOUR[0]).convert("P").save(path)


def transparent(path):
    from PIL import Image

    Image.fromarray(COLOUR[0]).save(path, transparency=(0, 0, 0))


def cut(path):
    picture(path, RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:2000])


def words(path):
    path.write_text("this is not a picture")


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (alpha, "alpha channel: flatten it.*mode RGBA"),
        (sixteen, "16 bits or more a pixel: reduce it to 8"),
        (palette, r"palette: convert it with image.convert\('RGB'\)"),
        (transparent, "transparent colour: flatten it"),
        (cut, "cannot be read as a PNG or JPEG .*cut short"),
        (words, "cannot be read as a PNG or JPEG .*another format"),
        (empty, "cannot be read as a PNG or JPEG"),
    ],
)
def test_a_picture_that_cannot_be_read_is_named(tmp_path, make, said):
    picture(tmp_path / "a.png", COLOUR[0])
    make(tmp_path / "b.png")
    with pytest.raises(DataError, match=said) as raised:
        read(tmp_path)
    assert "b.png" in str(raised.value)


def test_mixed_sizes_are_named(tmp_path):
    picture(tmp_path / "a.png", COLOUR[0])
    picture(tmp_path / "b.png", COLOUR[1][:4])
    with pytest.raises(
        DataError, match=r"'b.png' is 4 × 4 pixels in colour, 'a.png' is 4 × 5 .*resize or convert"
    ):
        read(tmp_path)


def test_mixed_channels_are_named(tmp_path):
    picture(tmp_path / "a.png", COLOUR[0])
    picture(tmp_path / "b.png", GREY[0])
    with pytest.raises(DataError, match=r"'b.png' is 4 × 5 pixels in grey"):
        read(tmp_path)


def test_an_empty_folder_and_loose_images_beside_classes(tmp_path):
    with pytest.raises(DataError, match=r"has no PNG or JPEG .*0 other file"):
        read(tmp_path)
    picture(tmp_path / "cats" / "a.png", GREY[0])
    picture(tmp_path / "b.png", GREY[0])
    with pytest.raises(DataError, match=r"1 image.* beside 1 sub-folder.*move the loose ones"):
        read(tmp_path)


def test_without_pillow_it_is_said_what_to_install(tmp_path, monkeypatch):
    import sys

    picture(tmp_path / "a.png", GREY[0])
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=r"pip install 'diffeo\[images\]'"):
        read(tmp_path)


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
