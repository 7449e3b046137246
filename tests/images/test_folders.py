"""Images from folders of files, splits of every source, and pictures that cannot be read."""

import struct
import zlib

import numpy as np
import pytest

from diffeo.errors import ConfigError, DataError
from diffeo.images import Images, read

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def picture(path, values, **options):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


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
