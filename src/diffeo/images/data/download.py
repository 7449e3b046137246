"""Published sets of images, fetched from their publishers and checked.

A file appears under its name only when it is whole and its digest is the published one. What has come of it
so far lies beside it as ``.part``; the next call goes on from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffeo.errors import FileError, a_path, one_of

#: Seconds that a server may be silent.
PATIENCE = 60.0

_BLOCK = 2**20


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        name: its name in the folder.
        urls: where it can be had, tried in this order.
        algorithm, digest: as its publisher or the libraries that fetch it state them.
    """

    name: str
    urls: Sequence[str]
    algorithm: str
    digest: str


def _mnist(name: str, md5: str) -> Published:
    hosts = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    return Published(name, [host + name for host in hosts], "md5", md5)


#: The files of each set.
SETS: Mapping[str, Sequence[Published]] = {
    "mnist": (
        _mnist("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        _mnist("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        _mnist("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        _mnist("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    "cifar10": (
        Published(
            "cifar-10-python.tar.gz",
            ["https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"],
            "sha256",
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    ),
}


def download(
    name: str,
    folder: str | os.PathLike[str],
    *,
    sets: Mapping[str, Sequence[Published]] = SETS,
    progress: Callable[[str, int], Any] | None = None,
) -> Path:
    """Fetch a published set into ``folder``, and return what :func:`diffeo.images.read` reads.

    Files that are there and right are left alone. A transfer that was cut goes on where it ended, if the
    server can; a file never appears half-written, nor with another digest than the published one.

    Args:
        name: "mnist" (11.6 MB, four files) or "cifar10" (170 MB, one archive).
        folder: where to; it is made if it is not there.
        sets: the files of each set, of your own mirror perhaps.
        progress: called with a file's name and the bytes of it that are there, now and then.

    Raises:
        ConfigError: the set is not known.
        FileError: a file could not be had, or is not the published one; it is not kept.
    """
    one_of("name", name, sets)
    a_path("folder", folder)
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"folder={str(place)!r} cannot be made: {error.strerror}. Choose another."
        ) from error
    for source in sets[name]:
        if not _right(place / source.name, source):
            _fetch(source, place, progress)
    files = sets[name]
    return place if len(files) > 1 else place / files[0].name


def _fetch(source: Published, folder: Path, progress: Callable[[str, int], Any] | None) -> None:
    part, target = folder / f"{source.name}.part", folder / source.name
    failures: list[str] = []
    for url in source.urls:
        # What another call left may be of another version: then the digest is wrong, and it begins anew.
        for attempt in range(2):
            try:
                _transfer(url, part, source.name, progress)
            except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
                failures.append(f"{url}: {error}")
                break
            if _right(part, source):
                os.replace(part, target)
                return
            found = _digest(part, source.algorithm)
            part.unlink()
            if attempt:
                failures.append(f"{url}: {source.algorithm} {found}; expected {source.digest}")
    raise FileError(
        f"{source.name} could not be fetched: {'; '.join(failures)}. Try again, which goes on from where "
        f"it ended, or put the file into {str(folder)!r} yourself."
    )


def _transfer(url: str, part: Path, name: str, progress: Callable[[str, int], Any] | None) -> None:
    """Add to ``part`` what is not there yet."""
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "diffeo"})
    if there:
        request.add_header("Range", f"bytes={there}-")
    try:
        answer = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        with error:
            if (
                error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            ):  # it is all there, or too much
                return
            raise
    with answer, open(part, "ab") as file:
        if there and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            file.truncate(0)  # the server sends it all again
        expected = answer.headers.get("Content-Length")
        written = 0
        while block := answer.read(_BLOCK):
            file.write(block)
            written += len(block)
            if progress is not None:
                progress(name, file.tell())
        file.flush()
        with contextlib.suppress(OSError):
            os.fsync(file.fileno())
        if expected is not None and written < int(expected):
            raise http.client.IncompleteRead(b"", int(expected) - written)


def _right(path: Path, source: Published) -> bool:
    return path.is_file() and _digest(path, source.algorithm) == source.digest


def _digest(path: Path, algorithm: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
