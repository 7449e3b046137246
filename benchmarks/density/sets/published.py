"""Fetch the published sources of the sets into a folder, each checked against its SHA-256.

    python -m benchmarks.density.sets.published FOLDER [beginnings of file names]

``published.json`` lists what is the same at its source as in the figures: ADBench, the UCI tables, the
census records, California housing, the photographs of BSDS300. A file that lies there already and is right
is left alone; one whose digest differs is refused, and nothing of it is kept. Sets that were cut or
converted (POWER, MINIBOONE, HIGGS, COMPAS, posteriors, points on spheres) have no entry: a folder that
lacks them is measured without them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("published.json")

#: Seconds that a server may be silent.
PATIENCE = 60.0


class Refused(Exception):
    """A source could not be had, or is not what it was; the message says which and why."""


@dataclass(frozen=True)
class Published:
    """One file: where it goes, where it is from, and what it must be.

    Attributes:
        file: its place in the folder of data; one that ends in .gz of a source that does not is compressed.
        url: where it is published, at a fixed revision.
        bytes: the length of the source.
        sha256: the digest of the source.
    """

    file: str
    url: str
    bytes: int
    sha256: str

    @property
    def compressed_here(self) -> bool:
        """Return whether the source is plain, and the file compressed."""
        return self.file.endswith(".gz") and not self.url.endswith(".gz")


def published(path: Path = LIST) -> list[Published]:
    """Return the list of sources."""
    return [Published(**entry) for entry in json.loads(path.read_text("utf-8"))]


def fetch(source: Published, folder: Path) -> bool:
    """Put a file in its place unless it is there and right; return whether it was fetched.

    Raises:
        Refused: it could not be had, or its length or digest is wrong.
    """
    place = folder / source.file
    if place.exists():
        there = gzip.decompress(place.read_bytes()) if source.compressed_here else place.read_bytes()
        if hashlib.sha256(there).hexdigest() == source.sha256:
            return False
    try:
        with urllib.request.urlopen(source.url, timeout=PATIENCE) as answer:
            # A byte more than it should have: enough to see that it is too long, whatever is sent.
            found = answer.read(source.bytes + 1)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise Refused(f"{source.file}: {source.url} could not be read: {error}") from None
    if len(found) != source.bytes:
        raise Refused(f"{source.file}: {source.url} has not the {source.bytes} bytes that it should have")
    digest = hashlib.sha256(found).hexdigest()
    if digest != source.sha256:
        raise Refused(f"{source.file}: {source.url} has SHA-256 {digest}; expected {source.sha256}")
    place.parent.mkdir(parents=True, exist_ok=True)
    half = place.with_name(place.name + ".part")
    half.write_bytes(gzip.compress(found, mtime=0) if source.compressed_here else found)
    half.replace(place)
    return True


def fetch_all(folder: Path, beginnings: Sequence[str] = ("",), path: Path = LIST) -> Iterator[str]:
    """Fetch every file of the list whose name begins so; yield a line on each refusal, and a sum."""
    fetched = there = 0
    refused: list[str] = []
    for source in published(path):
        if source.file.startswith(tuple(beginnings)):
            try:
                new = fetch(source, folder)
                fetched, there = fetched + new, there + (not new)
            except Refused as error:
                refused.append(str(error))
                yield f"REFUSED {error}"
    yield f"{fetched} files fetched, {there} were there, {len(refused)} refused; folder {folder}"


def main(given: Sequence[str]) -> int:
    """Fetch, and return 1 if anything was refused."""
    if not given:
        print(__doc__)
        return 2
    lines = list(fetch_all(Path(given[0]), given[1:] or ("",)))
    print("\n".join(lines))
    return int(any(line.startswith("REFUSED") for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
