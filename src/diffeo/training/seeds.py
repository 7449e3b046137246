"""Random numbers of a run, each stream a function of the seed and of where it is used.

Nothing random has a state that a resumed run would have to restore: the order of epoch 7 or the dropout
of step 812 follow from the seed alone.
"""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, purpose: str, index: int = 0) -> int:
    """Return a seed for the ``index``-th use of a stream.

    >>> derived_seed(0, "order", 1) == derived_seed(0, "order", 1) != derived_seed(0, "order", 2)
    True
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """Return a generator on the CPU, so that every device sees the same numbers."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, index))


def seed_step(seed: int, step: int, device: torch.device) -> None:
    """Seed torch's own generators for one step, which dropout draws from.

    :func:`diffeo.fit` calls this inside ``torch.random.fork_rng``: the caller's state comes back.
    """
    value = derived_seed(seed, "step", step)
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(value)
