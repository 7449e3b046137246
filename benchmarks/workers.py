"""The parent's side of a worker: start it, ask it, replace it if it dies or hangs."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.machine import environment

ROOT = Path(__file__).parent.parent


class Handle:
    """A worker process, started when it is first asked."""

    def __init__(self, name: str, threads: int | None = None) -> None:
        self.name, self.threads = name, threads
        self.process: subprocess.Popen[str] | None = None
        self.broken = ""

    def ask(self, request: dict[str, Any], limit: float) -> dict[str, Any]:
        """Return the answer; {"error": …} if there is none within ``limit`` seconds, or ever."""
        if self.broken:
            return {"error": self.broken}
        if self.process is None:
            ready = self._start()
            if "ready" not in ready:
                self.broken = ready["error"]
                self.close()
                return ready
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer(limit)

    def _start(self) -> dict[str, Any]:
        self.log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - open for as long as the process is
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.worker",
                self.name,
                *([str(self.threads)] if self.threads else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=ROOT,
            env=environment(self.threads),
        )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(self.process, self.answers), daemon=True).start()
        return self._answer(120.0)

    @staticmethod
    def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answers.put(line)
        answers.put("")

    def _answer(self, limit: float) -> dict[str, Any]:
        try:
            line = self.answers.get(timeout=limit)
        except queue.Empty:
            self.close()
            return {"error": f"no answer within {limit:.0f} s"}
        if line:
            return json.loads(line)
        self.log.seek(0)
        last = [row for row in self.log.read().splitlines() if row.strip()][-1:]
        self.close()
        return {"error": f"the process ended: {last[0][:200] if last else 'without a word'}"}

    def close(self) -> None:
        """End the process; the next question starts another."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # a question that nobody read
                        pipe.close()
            self.log.close()
            self.process = None


def handles(names: Iterable[str], threads: int | None = None) -> dict[str, Handle]:
    """Return a handle for each name."""
    return {name: Handle(name, threads) for name in names}


def asked(case: Case) -> dict[str, Any]:
    """Return a case as a request has it."""
    return asdict(case)
