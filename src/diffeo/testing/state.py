"""The global state that diffeo leaves alone. Imports nothing of diffeo: it is read before diffeo is."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch.distributions import Distribution


def torch_state() -> dict[str, Any]:
    """Return what is global: torch's defaults and switches, the random state of torch, NumPy and Python.

    >>> sorted(torch_state())[:3]
    ['anomaly detection', 'default device', 'default dtype']
    """
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradient mode": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "validation of distributions": Distribution._validate_args,  # pyright: ignore[reportPrivateUsage]
        "matmul precision": torch.get_float32_matmul_precision(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "random state": torch.get_rng_state().tolist(),
        "random state of NumPy": np.random.get_state(legacy=False)["state"]["key"].tolist(),  # noqa: NPY002
        "random state of Python": random.getstate(),
    }
