"""Sets that lie in the folder of data as arrays (``.npz``)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.density.protocol import Array, Table
from benchmarks.density.sets.source import Source, numbers
from benchmarks.tables import miniboone_parts, power_rows

#: ADBench's "Classical" tables, by the names of their files.
ADBENCH = [
    "2_annthyroid",
    "4_breastw",
    "6_cardio",
    "7_Cardiotocography",
    "8_celeba",
    "11_donors",
    "12_fault",
    "14_glass",
    "15_Hepatitis",
    "16_http",
    "17_InternetAds",
    "18_Ionosphere",
    "19_landsat",
    "20_letter",
    "21_Lymphography",
    "22_magic.gamma",
    "24_mnist",
    "26_optdigits",
    "28_pendigits",
    "29_Pima",
    "31_satimage-2",
    "33_skin",
    "34_smtp",
    "35_SpamBase",
    "37_Stamps",
    "39_vertebral",
    "40_vowels",
    "41_Waveform",
    "42_WBC",
    "45_wine",
    "46_WPBC",
]

#: Those that are measured as they are too, their label among the columns.
ADBENCH_NATIVE = ("4_breastw", "8_celeba", "11_donors", "20_letter", "28_pendigits", "35_SpamBase")

#: Events of gravitational waves whose posteriors were published, and simulated problems of sbibm.
EVENTS = ("gw170104", "gw170608", "gw170809", "gw170814", "gw170823")
PROBLEMS = [
    "bernoulli_glm",
    "gaussian_linear",
    "gaussian_linear_uniform",
    "gaussian_mixture",
    "lotka_volterra",
    "sir",
    "slcp",
    "two_moons",
]

PLACES = ("volerup", "quakes_all", "flood", "fire")


def sources() -> list[Source]:
    """Return the sets."""
    return [
        *(Source(f"adbench {name}", partial(adbench, name), f"adbench/{name}.npz") for name in ADBENCH),
        *(
            Source(f"adbench {name}", partial(adbench_frame, name), f"adbench/{name}.npz", native=True)
            for name in ADBENCH_NATIVE
        ),
        Source("power", power, "power/power_2006-12-16_2007-06-30.npz"),
        Source("miniboone", miniboone, "miniboone/miniboone_maf_val_test.npz"),
        Source("higgs", higgs, "higgs_sample/higgs_sample.npz"),
        Source("cities", cities, "cities/cities.npz"),
        Source("rna torsion", torsion, "torus_rna/rna_angles_deg.npz"),
        *(
            Source(f"earth {name}", partial(earth, name), "earth_sphere/earth_latlon.npz")
            for name in PLACES
        ),
        *(Source(name, partial(event, name), f"gw_o2_bbh/{name}.npz") for name in EVENTS),
        *(Source(f"sbibm {name}", partial(problem, name), f"sbibm/{name}.npz") for name in PROBLEMS),
    ]


def adbench(name: str, folder: Path) -> Table:
    """Return all rows, ordinary and anomalous, without the label."""
    with np.load(folder / "adbench" / f"{name}.npz") as z:
        return numbers(z["X"])


def adbench_frame(name: str, folder: Path) -> pl.DataFrame:
    """Return all rows and the label."""
    with np.load(folder / "adbench" / f"{name}.npz") as z:
        columns = {f"c{k}": column for k, column in enumerate(z["X"].T)}
        return pl.DataFrame({**columns, "anomalous": z["y"].ravel().astype(bool)})


def power(folder: Path) -> Table:
    """Return household power by the recipe of Papamakarios et al.: the last tenth is for testing."""
    x = power_rows(folder)
    test = len(x) // 10
    validation = (len(x) - test) // 10
    return numbers(
        x,
        [
            "active power",
            "voltage",
            "sub-meter 1",
            "sub-meter 2",
            "sub-meter 3",
            "minute of the day",
        ],
        parts=(len(x) - test - validation, validation, test),
        said="196 days (13.6 % of the published rows), the published recipe and shares",
    )


def miniboone(folder: Path) -> Table:
    """Train on nine tenths of the published validation split, test on the published test split."""
    first, test = miniboone_parts(folder)
    held = len(first) // 10
    return numbers(
        np.concatenate([first, test]),
        parts=(len(first) - held, held, len(test)),
        said="the published validation split, whose last tenth validates; the published test split; the "
        "published training split could not be had",
        published=True,
    )


def higgs(folder: Path) -> Table:
    """Return collider features."""
    with np.load(folder / "higgs_sample" / "higgs_sample.npz") as z:
        return numbers(z["x"], z["columns"])


def cities(folder: Path) -> Table:
    """Return longitude, latitude and log₁₀ population."""
    with np.load(folder / "cities" / "cities.npz") as z:
        population = np.log10(np.maximum(z["population"], 1))
        return numbers(np.stack([z["lon"], z["lat"], population], 1), ["lon", "lat", "log10 population"])


def torsion(folder: Path) -> Table:
    """Return seven angles of the backbone, in degrees."""
    with np.load(folder / "torus_rna" / "rna_angles_deg.npz") as z:
        return numbers(z["angles"])


def earth(name: str, folder: Path) -> Table:
    """Return latitude and longitude, in degrees."""
    with np.load(folder / "earth_sphere" / "earth_latlon.npz") as z:
        return numbers(z[name], ["latitude", "longitude"])


def event(name: str, folder: Path) -> Table:
    """Return a posterior of the parameters of a merger of black holes."""
    with np.load(folder / "gw_o2_bbh" / f"{name}.npz") as z:
        return numbers(z["samples"], z["names"])


def problem(name: str, folder: Path) -> Table:
    """Return the reference posterior of the third observation (in the first two_moons is a line)."""
    with np.load(folder / "sbibm" / f"{name}.npz") as z:
        rows: Array = z["posterior"][2]
    return numbers(rows, said="reference posterior of observation 3")
