"""Images on the command line: fitted, scored, drawn, taken to their noise and back."""

import numpy as np
import polars as pl
import pytest

import diffeo as library
from diffeo.cli import run
from diffeo.cli.images import are_images, settings_in
from diffeo.errors import ConfigError
from diffeo.images import Images, read, save_picture

FAST = ("--max-steps", "4", "--device", "cpu", "--set", "scales=2", "--set", "width=4", "--set", "blocks=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty digits as PNG, in a sub-folder for each class."""
    place = tmp_path_factory.mktemp("digits")
    images = read("digits")[:40]
    for k, (pixels, label) in enumerate(zip(images.pixels, images.labels, strict=True)):
        (place / f"class {label}").mkdir(exist_ok=True)
        save_picture(pixels.transpose(1, 2, 0) * 15, place / f"class {label}" / f"{k:02}.png")
    return place


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    assert run(["fit", str(folder), "-o", str(path), "--by-class", *FAST]) == 0
    return path


def test_a_folder_is_fitted(diffeo, folder, tmp_path):
    out = tmp_path / "m.safetensors"
    glow = ("--flow", "glow", "--set", "steps=1", "--set", "levels=2", "--set", "width=4", "--flip")
    outcome = diffeo("fit", folder, "-o", out, "--json", *glow, *FAST[:4])
    facts = outcome.json
    assert (facts["images"], facts["shape"], facts["levels"], facts["flow"]) == (40, [1, 8, 8], 256, "glow")
    assert facts["warnings"] == []
    assert "modelling Images(40 of 1 × 8 × 8, 256 levels, 10 classes) by glow" in outcome.err
    held_out = library.load(out).bits_per_dim(read(folder)).mean()
    assert held_out == pytest.approx(facts["held_out_bits_per_dim"], rel=0.2)


def test_scores_are_bits_per_dimension_by_name(diffeo, model, folder, tmp_path):
    outcome = diffeo("score", model, folder, "-o", tmp_path / "s.csv", "--draws", "2", "--json")
    table = pl.read_csv(tmp_path / "s.csv")
    assert table.columns == ["image", "bits_per_dim", "log_prob"]
    assert table["image"][0] == "class 0/00.png"
    density = library.load(model)
    np.testing.assert_allclose(table["bits_per_dim"], density.bits_per_dim(read(folder), draws=2))
    assert outcome.json["bits_per_dim"] == pytest.approx(table["bits_per_dim"].mean())
    assert outcome.json["draws"] == 2


def picture(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.size


def test_samples_are_written_as_a_picture_and_as_arrays(diffeo, model, tmp_path):
    assert diffeo("sample", model, "-n", 6, "-o", tmp_path / "a.png").code == 0
    assert picture(tmp_path / "a.png") == (8 * 32, 8 * 22)
    assert diffeo("sample", model, "-n", 6, "-o", tmp_path / "a.npz", "--label", "class 3").code == 0
    found = read(tmp_path / "a.npz")
    assert found.labels.tolist() == [3] * 6
    assert np.array_equal(found.pixels, library.load(model).sample(6, labels=3).pixels)


def test_a_transformer_learns_with_noise_and_its_samples_are_guided(diffeo, folder, tmp_path):
    out, drawn = tmp_path / "m.safetensors", tmp_path / "s.npz"
    tiny = [f"--set={text}" for text in ("patch=4", "width=16", "transforms=1", "blocks=1", "heads=2")]
    noise = ("--flow", "tarflow", "--by-class", "--noise", "6.4", "--drop-classes", "0.1", *tiny)
    noise += ("--scratch", tmp_path)
    assert diffeo("fit", folder, "-o", out, *noise, *FAST[:4]).code == 0
    assert library.load(out).noise == 6.4
    assert (
        diffeo("sample", out, "-n", "3", "-o", drawn, "--label", "class 3", "--guidance", "1.5").code == 0
    )
    with np.load(drawn) as found:
        assert (found["x"].shape, found["y"].tolist()) == ((3, 1, 8, 8), [3, 3, 3])
    outcome = diffeo("sample", out, "-n", "3", "-o", drawn, "--guidance", "1", "--moulding", "3")
    assert outcome.code == 2
    assert "--guidance goes with neither --moulding nor several temperatures" in outcome.err


def test_temperatures_and_moulding_are_rows(diffeo, model, tmp_path):
    options = ("sample", model, "-n", 3, "-o")
    assert diffeo(*options, tmp_path / "t.npy", "--temperature", "0,0.5,1").code == 0
    rows = np.load(tmp_path / "t.npy")
    assert rows.shape == (3, 3, 1, 8, 8)
    assert np.array_equal(rows[2], library.load(model).sample(3).pixels)
    assert diffeo(*options, tmp_path / "m.npy", "--moulding", "4").code == 0
    ways = np.load(tmp_path / "m.npy")
    assert ways.shape == (3, 4, 1, 8, 8)
    assert np.array_equal(ways[:, -1], library.load(model).sample(3).pixels)
    chosen = ("--label", "class 3", "--temperature", "0.5", "--moulding", "3")
    assert diffeo(*options, tmp_path / "c.npy", *chosen).code == 0
    cool = library.load(model).sample(3, labels=3, temperature=0.5)
    assert np.array_equal(np.load(tmp_path / "c.npy")[:, -1], cool.pixels)
    outcome = diffeo(*options, tmp_path / "n.npy", "--moulding", "3", "--temperature", "0.5,1")
    assert outcome.code == 2
    assert "goes with --moulding as one number" in outcome.err


def test_images_come_back_and_ways_begin_at_them(diffeo, model, folder, tmp_path):
    outcome = diffeo("reconstruct", model, folder, "-o", tmp_path / "r.npy", "-n", 5, "--json")
    facts = outcome.json
    assert (facts["images"], facts["exact"], facts["rows"], facts["warnings"]) == (5, 5, 2, [])
    assert diffeo("reconstruct", model, folder, "-o", tmp_path / "s.npy", "-n", 5, "--scales").code == 0
    held = np.load(tmp_path / "s.npy")
    assert held.shape == (2, 5, 1, 8, 8)
    assert np.array_equal(held[0], read(folder)[:5].pixels)
    assert not np.array_equal(held[1], held[0])
    assert diffeo("interpolate", model, folder, "-o", tmp_path / "w.npy", "-n", 2, "--steps", 3).code == 0
    assert np.array_equal(np.load(tmp_path / "w.npy")[:, 0], read(folder)[:4:2].pixels)


def test_info_tells_of_the_model(diffeo, model):
    about = diffeo("info", model, "--json").json
    assert about["kind"] == "images.ImageModel"
    assert about["extra"]["classes"][3] == "class 3"
    assert "held_out_bits_per_dim" in about["extra"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fit", "{folder}", "-o", "{out}", "--hidden", "8"), "--hidden cannot be given with images"),
        (("fit", "{folder}", "-o", "{out}", "--flow", "realnpv"), "Did you mean 'realnvp'"),
        (("fit", "{folder}", "-o", "{out}", "--set", "wide=3"), "wide=3 is no setting of RealNVP"),
        (("fit", "{folder}", "-o", "{out}", "--pixels", "unitt"), "pixels='unitt' is not known"),
        (("fit", "{folder}", "-o", "{out}", "--set", "wide"), "--set 'wide' is not NAME=VALUE"),
        (("fit", "{empty}", "-o", "{out}"), "has no PNG or JPEG"),
        (("sample", "{model}", "-n", "3"), "-o '-' is not a file that images are written to"),
        (("sample", "{model}", "-n", "3", "-o", "{out}.png", "--label", "cat"), "label 'cat' is no class"),
        (("sample", "{model}", "-n", "3", "-o", "{out}.png", "--temperature", "a"), "--temperature 'a'"),
        (("interpolate", "{model}", "{folder}", "-o", "{out}.png", "-n", "30"), "expected at least 60"),
        (("score", "{model}", "{empty}", "-o", "{out}.csv"), "has no PNG or JPEG"),
        (("sample", "{model}", "-n", "3", "-o", "{empty}/no/x.png"), "is not one"),
        (
            ("score", "{model}", "{folder}", "-o", "{out}.csv", "--append", "--missing", "keep"),
            "--append, --missing cannot be given with a model of images",
        ),
        (("score", "{model}", "{folder}", "-o", "{empty}/no/x.csv"), "cannot be written"),
        (("score", "{model}", "{folder}", "-o", "{out}.csv", "--split", "test"), "not divided into train"),
        (("fit", "{folder}", "-o", "{out}", "--precision", "half"), "precision='half' is not known"),
    ],
)
def test_what_cannot_be_is_told(diffeo, model, folder, tmp_path, arguments, said):
    (tmp_path / "empty").mkdir()
    places = {"folder": folder, "model": model, "empty": tmp_path / "empty", "out": tmp_path / "out"}
    outcome = diffeo(*(argument.format(**places) for argument in arguments))
    assert outcome.code == 2
    assert said in outcome.err


def test_what_is_of_images_is_refused_for_tables(diffeo, data, tmp_path):
    outcome = diffeo("fit", data, "-o", tmp_path / "m", "--flip", "--levels", "4")
    assert outcome.code == 2
    assert "--flip, --levels cannot be given with a table" in outcome.err


def test_what_is_taken_for_images(tmp_path):
    np.save(tmp_path / "table.npy", np.zeros((5, 3)))
    np.save(tmp_path / "images.npy", np.zeros((5, 3, 3), np.uint8))
    np.savez(tmp_path / "images.npz", x=np.zeros((5, 3, 3), np.uint8))
    (tmp_path / "broken.npz").write_bytes(b"")
    names = (
        "images.npy",
        "images.npz",
        "",
        "train-images-idx3-ubyte.gz",
        "cifar-10-python.tar.gz",
        "a.PNG",
    )
    assert all(are_images(str(tmp_path / name)) for name in names)
    assert not any(are_images(str(tmp_path / name)) for name in ("table.npy", "broken.npz", "a.csv", "-"))
    assert settings_in(["scales=3", "a=1,2", "b=0.5", "c=true"]) == {
        "scales": 3,
        "a": (1, 2),
        "b": 0.5,
        "c": True,
    }
    with pytest.raises(ConfigError, match="--set"):
        settings_in(["=3"])
    assert isinstance(read("digits"), Images)
