"""Images that need no memory: an .npy that is mapped, rows that a fit reads from a file."""

import functools
import tempfile

import numpy as np
import pytest
import torch
from PIL import Image

from diffeo.errors import DataError, FileError
from diffeo.images import Images, image_model, read
from diffeo.images.data import folder as folders
from diffeo.images.data.room import room_for
from diffeo.images.model import streaming
from diffeo.images.model.streaming import streamed
from diffeo.training import TrainConfig
from diffeo.training.split import SAMPLE, SAMPLE_NUMBERS, Rows

TINY = {"scales": 1, "width": 4, "blocks": 1}


@pytest.fixture
def digits():
    return read("digits")[:200]


def weights(images, **how):
    torch.manual_seed(0)
    model = image_model(images.shape, images.levels, settings=TINY)
    config = TrainConfig(max_steps=4, batch_size=32, evaluate_every=2)
    result = model.fit(images, config=config, progress=False, **how)
    return result.best_held_out_nats, torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_fit_from_a_file_is_the_same_and_leaves_nothing(digits, tmp_path):
    nats, plain = weights(digits)
    again, mapped = weights(digits, scratch=tmp_path)
    assert nats == again
    assert torch.equal(plain, mapped)
    assert list(tmp_path.iterdir()) == []


def test_what_is_held_out_is_not_drawn_from_a_copy_of_all(digits, tmp_path, monkeypatch):
    asked = []

    class Watched(np.ndarray):
        def __getitem__(self, index):
            found = super().__getitem__(index)
            asked.append(len(found))
            return found

    monkeypatch.setattr(streaming, "_PART", 16)
    whole = Images(digits.pixels.view(Watched), digits.levels)
    asked.clear()
    nats, plain = weights(whole, scratch=tmp_path)
    assert max(asked) == 16
    assert sum(asked) == len(digits)
    again, copied = weights(digits)
    assert nats == again
    assert torch.equal(plain, copied)


def test_the_file_is_gone_after_an_error(digits, tmp_path):
    def stopped():
        with streamed(digits, torch.float32, 0, tmp_path) as rows:
            assert rows.shape == (200, 1, 8, 8)
            (file,) = tmp_path.glob("*/rows")
            assert file.stat().st_size == rows.numel() * 4
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert list(tmp_path.iterdir()) == []


def test_rows_are_in_their_cells(digits, tmp_path):
    for scratch in (None, tmp_path):
        with streamed(digits, torch.float64, 3, scratch) as rows:
            np.testing.assert_array_equal(rows.floor().numpy(), digits.pixels)
            assert 0.45 < float((rows - rows.floor()).mean()) < 0.55


def test_a_folder_that_holds_nothing_is_told(digits, tmp_path):
    with pytest.raises(FileError, match=r"cannot hold a file of 0\.00 GiB .*expected a folder"):
        weights(digits, scratch=tmp_path / "none")


def test_an_npy_of_bytes_is_a_map_and_others_are_read(digits, tmp_path):
    np.save(tmp_path / "bytes.npy", digits.pixels)
    np.save(tmp_path / "wide.npy", digits.pixels.astype(np.int64))
    np.save(tmp_path / "last.npy", np.repeat(digits.pixels, 3, 1).transpose(0, 2, 3, 1))
    found = {name: read(tmp_path / f"{name}.npy") for name in ("bytes", "wide", "last")}
    assert isinstance(found["bytes"].pixels, np.memmap)
    assert isinstance(found["last"].pixels, np.memmap)
    for images in found.values():
        np.testing.assert_array_equal(images.pixels[:, :1], digits.pixels)
    assert not found["bytes"].pixels.flags.writeable


def test_an_array_that_is_given_is_not_aliased(digits):
    given = digits.pixels.copy()
    images = read(given)
    given[:] = 0
    assert images.pixels.any()


@pytest.mark.parametrize(("shape", "most"), [((3,), SAMPLE), ((3, 32, 32), SAMPLE_NUMBERS // 3072)])
def test_what_is_read_off_images_reads_fewer(shape, most):
    rows = Rows(torch.zeros(1, *shape).expand(70_000, *shape), None, torch.arange(70_000))
    assert len(rows.sample(0)) == most
    assert len(rows.sample(0).number.unique()) == most


def test_too_few_images_are_told():
    with (
        pytest.raises(DataError, match=r"there are 1 image\(s\); expected more"),
        streamed(Images(np.zeros((1, 1, 2, 2), np.uint8)), torch.float32, 0),
    ):
        pass


def test_a_large_folder_is_decoded_into_a_file_that_has_no_name(digits, tmp_path, monkeypatch):
    for k in range(5):
        Image.fromarray(digits.pixels[k, 0]).save(tmp_path / f"{k}.png")
    monkeypatch.setattr(folders, "room_for", functools.partial(room_for, large=320))
    passing = tmp_path / "passing"
    passing.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(passing))
    found = read(tmp_path)
    assert isinstance(found.pixels, np.memmap)
    assert list(passing.iterdir()) == []
    np.testing.assert_array_equal(found.pixels, digits.pixels[:5])


def test_no_room_for_a_large_folder_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(FileError, match=r"cannot hold .* of decoded images .*set TMPDIR"):
        room_for((4, 4), large=16)
