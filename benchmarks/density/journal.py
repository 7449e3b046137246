"""The journal: a line of JSON a fit, appended when it is over. Whatever ends a run, no fit is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]

#: What names a fit. The last record of a name counts.
NAME = ("part", "set", "seed", "method", "budget")


class Journal:
    """Records on a disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.found = {name_of(record): record for record in read(path)}

    def has(self, record: Record) -> bool:
        """Return whether a fit of this name is over. One whose library was missing is tried again."""
        known = self.found.get(name_of(record))
        return known is not None and "missing" not in known

    def append(self, record: Record) -> None:
        """Write a record, and wait until the disk has it."""
        self.found[name_of(record)] = record
        torn = self.path.exists() and self.path.read_bytes()[-1:] not in (b"", b"\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write(("\n" if torn else "") + json.dumps(record, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def records(self) -> list[Record]:
        """Return the last record of each name."""
        return list(self.found.values())


def name_of(record: Record) -> tuple[Any, ...]:
    """Return what names a fit."""
    return tuple(record[field] for field in NAME)


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a file; a line that was being written when the run was ended is left out."""
    if not path.exists():
        return
    for line in path.read_text("utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
