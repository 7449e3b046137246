"""The command line: ``diffeo fit``, ``score``, ``sample``, ``verify``, ``info``, ``demo``.

Exit codes: 0, done; 1, the answer is no or the computation failed; 2, the input or the usage is wrong.
Nothing here imports torch or polars before a command runs, so that ``diffeo --help`` answers at once.
"""

from diffeo.cli.app import main, run

__all__ = ["main", "run"]
