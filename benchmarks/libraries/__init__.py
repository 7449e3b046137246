"""How each library does the work: one small adapter a library, all with the methods of ``Library``."""

from benchmarks.libraries.library import Lacks, Library

#: Name in the report ↦ module of this folder, and its variant.
LIBRARIES: dict[str, tuple[str, str]] = {
    "diffeo": ("ours", "auto"),
    "diffeo float32": ("ours", "float32"),
    "diffeo own loop": ("ours", "own"),
    "zuko": ("zuko", ""),
    "nflows": ("nflows", ""),
    "normflows": ("normflows", ""),
    "torchflows": ("torchflows", ""),
    "FrEIA": ("freia", ""),
    "flowjax": ("flowjax", ""),
    "distrax": ("distrax", ""),
}

#: Entries of the memory table only.
MEMORY: dict[str, tuple[str, str]] = {"diffeo, memory constant": ("ours", "constant")}

#: Entries of the table of fits only.
FITS: dict[str, tuple[str, str]] = {"diffeo.FlowDensity": ("ours", "estimator")}

#: The matrix products of a step alone, by the route that they take.
FLOORS: dict[str, tuple[str, str]] = {
    "products float32": ("products", "float32"),
    "products float32 oneDNN": ("products", "float32 oneDNN"),
    "products bfloat16": ("products", "bfloat16"),
}

ALL = {**LIBRARIES, **MEMORY, **FITS, **FLOORS}
OURS = ("diffeo", "diffeo float32", "diffeo own loop", *MEMORY, *FITS)
PEERS = tuple(name for name in LIBRARIES if name not in OURS)

__all__ = ["ALL", "FITS", "FLOORS", "LIBRARIES", "MEMORY", "OURS", "PEERS", "Lacks", "Library"]
