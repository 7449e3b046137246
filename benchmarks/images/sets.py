"""Image sets: whole numbers in arrays (rows, C, H, W), split as published, and their levels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from diffeo.images import read

Pixels = Any


@dataclass(frozen=True)
class ImageSet:
    """Images to learn from, to stop by, and to measure on.

    Attributes:
        name: of the set.
        levels: a pixel is one of 0 … levels − 1.
        train, validation, test: whole numbers, (rows, C, H, W).
        note: what a reader should know of the split.
    """

    name: str
    levels: int
    train: Pixels
    validation: Pixels
    test: Pixels
    note: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (C, H, W)."""
        channels, height, width = self.train.shape[1:]
        return channels, height, width

    def tested_on(self, images: int | None) -> ImageSet:
        """Return the set with only the first ``images`` of its test images, as its note then says."""
        if images is None or images >= len(self.test):
            return self
        return replace(self, test=self.test[:images], note=f"{self.note}; measured on the first {images:,}")


def digits(folder: Path | None, seed: int) -> ImageSet:
    """Return scikit-learn's 1,797 digits, 8 × 8 of 17 levels; they have no published split."""
    from sklearn.datasets import load_digits

    x = load_digits().images.astype(np.uint8)[:, None]
    x = x[np.random.default_rng(seed).permutation(len(x))]
    note = "1,300 / 137 / 360, at random by the seed"
    return ImageSet("digits", 17, x[:1300], x[1300:1437], x[1437:], note)


def mnist(folder: Path | None, seed: int) -> ImageSet:
    """Return MNIST, 28 × 28: the last 5,000 training images stop a fit."""
    home = _folder(folder) / "mnist"
    packed = home / "mnist.npz"
    source = packed if packed.exists() else home  # as diffeo.images.download leaves it
    train, test = (read(source, split=split).pixels for split in ("train", "test"))
    return ImageSet(
        "mnist", 256, train[:55000], train[55000:], test, "55,000 / 5,000 / 10,000, as published"
    )


def cifar10(folder: Path | None, seed: int) -> ImageSet:
    """Return CIFAR-10: the last 2,000 training images stop a fit; of packed ones, 1,000 of test measure."""
    home = _folder(folder) / "cifar10"
    if not (home / "cifar10_train_1.npz").exists():  # as diffeo.images.download leaves it
        archives = sorted(home.glob("cifar-10-*.tar.gz"))
        source = archives[0] if archives else home
        train, test = (read(source, split=split).pixels for split in ("train", "test"))
        note = f"48,000 / 2,000 / {len(test):,}, as published"
        return ImageSet("cifar10", 256, train[:48000], train[48000:], test, note)
    parts = [_differences(home / f"cifar10_train_{k}.npz") for k in range(1, 6)]
    train = np.concatenate(parts)
    test = _differences(home / "cifar10_test_first1000.npz")
    return ImageSet(
        "cifar10", 256, train[:48000], train[48000:], test, "48,000 / 2,000 / the first 1,000 of test"
    )


SETS = {"digits": digits, "mnist": mnist, "cifar10": cifar10}


def _folder(folder: Path | None) -> Path:
    if folder is None:
        raise SystemExit("this set is read from a folder: pass --data FOLDER, or set DIFFEO_DATA.")
    return folder


def _differences(path: Path) -> Pixels:
    """Return images that were kept as second differences, red and blue as their distance from green."""
    with np.load(path) as found:
        x = found["d"].cumsum(2, dtype=np.uint8).cumsum(3, dtype=np.uint8)
    x[:, 0] += x[:, 1]
    x[:, 2] += x[:, 1]
    return x
