"""How a fit goes: every choice, with a default that suits tables of a hundred to a million rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from diffeo.errors import ConfigError, at_least, number, one_of


@dataclass(frozen=True)
class TrainConfig:
    """The settings of :func:`diffeo.fit`; each is checked when the object is made.

    Args:
        max_epochs: passes over the training rows, at most; None sets no such limit.
        max_steps: optimisation steps, at most. With neither limit nor a time budget, 100 epochs are
            planned, but no fewer than 2,000 steps and no more than 30,000.
        batch_size: rows a step, at least 2; None takes the power of two nearest to 2 √rows, from 32 to
            2,048; where ``time_budget`` alone ends the run, no more than 256 in two minutes or less, and in
            proportion in more. Batches of an epoch are made equal to within one row.
        accumulate: parts that a batch is divided into, one in memory at a time; their gradients are added
            up to that of the whole. It is for objectives that are means over rows, as likelihoods are.
        learning_rate: the peak, reached after the warm-up. None takes 2e-3, and 4e-3 where ``time_budget``
            alone ends the run.
        weight_decay: AdamW's decoupled decay, of matrices only (not of biases and scales).
        warmup: the fraction of the run over which the rate rises linearly; then it falls as a half
            cosine to zero.
        clip_norm: gradients are scaled down to this norm; None leaves them.
        patience: evaluations without improvement after which training stops early; None never does.
        min_delta: the improvement, in nats, that counts for patience.
        evaluate_every: steps between evaluations on the held-out rows; None takes an epoch, but no less
            than 25 steps (250 for flow matching) and no more than 1,000.
        averaging: decay of an exponential moving average of the weights; the average is what is evaluated
            and kept. 0 turns it off.
        noise: standard deviation of Gaussian noise added to training rows, in units of each column's
            standard deviation.
        seed: of the split, the order of the rows, the noise and dropout.
        device: "auto" (a CUDA device if there is one), or any name that torch knows.
        precision: of the products of matrices inside conditioners while training: "float32"; "bfloat16";
            "auto", which is bfloat16 where the device multiplies in it, conditioners are at least 128 units
            wide and (on a processor) compiled kernels know some layer, else float32, as with constant
            memory; or "float64", in which everything is computed then. Laws, sums, log-determinants, bases
            and the optimizer are of float32 otherwise, and scores and samples of the flow's dtype.
        compile: "auto" takes the compiled kernels for the layers that they know, and compiles them, which
            takes seconds and is done once on a machine; "off" computes everything by torch. "blocks" is
            "auto" and, for the layers that they do not know (Bernstein, sums of squares, NAF, …),
            torch.compile: one function for all layers of the same structure, before the first step. That
            takes a minute or more, and seconds where torch has it on disk (``TORCHINDUCTOR_CACHE_DIR``): it
            is for long runs. A layer that cannot be compiled, or is then not as right, stays as it is (the
            log "diffeo" says why), and so does a flow with constant memory.
        graphs: whether whole steps are recorded as CUDA graphs and replayed, so that a step is one launch,
            which is for small flows on a GPU. For maximum likelihood alone, and layers that do not wait for
            the device. The weights are those of a fit without, but for rounding.
        time_budget: seconds after which training stops; the learning rate then follows the clock. What
            compiling takes, on a machine's first run, is part of them, but half is left for steps.
        max_bad_steps: steps whose loss or gradient is not finite that are forgiven in a run.
        checkpoint_every: steps between saves, where ``fit`` is given a checkpoint.

    Raises:
        ConfigError: naming the argument, what was given and what is allowed.

    >>> TrainConfig(learning_rate=-1)
    Traceback (most recent call last):
    diffeo.errors.ConfigError: learning_rate=-1 must be a finite number above 0, or None.
    """

    max_epochs: int | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    accumulate: int = 1
    learning_rate: float | None = None
    weight_decay: float = 1e-4
    warmup: float = 0.05
    clip_norm: float | None = 5.0
    patience: int | None = 25
    min_delta: float = 1e-4
    evaluate_every: int | None = None
    averaging: float = 0.99
    noise: float = 0.0
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    graphs: bool = False
    time_budget: float | None = None
    max_bad_steps: int = 10
    checkpoint_every: int = 500

    def __post_init__(self) -> None:
        for name in ("max_epochs", "max_steps", "patience", "evaluate_every"):
            at_least(name, getattr(self, name), 1, optional=True)
        at_least("batch_size", self.batch_size, 2, optional=True)
        at_least("accumulate", self.accumulate, 1)
        at_least("seed", self.seed, 0)
        number("seed", self.seed, below=2**63)
        at_least("max_bad_steps", self.max_bad_steps, 0)
        at_least("checkpoint_every", self.checkpoint_every, 1)
        number("learning_rate", self.learning_rate, above=0, optional=True)
        number("clip_norm", self.clip_norm, above=0, optional=True)
        number("time_budget", self.time_budget, above=0, optional=True)
        number("weight_decay", self.weight_decay, least=0)
        number("min_delta", self.min_delta, least=0)
        number("noise", self.noise, least=0)
        number("warmup", self.warmup, least=0, below=1)
        number("averaging", self.averaging, least=0, below=1)
        one_of("precision", self.precision, ("auto", "float32", "bfloat16", "float64"))
        one_of("compile", self.compile, ("auto", "blocks", "off"))
        if not isinstance(self.graphs, bool):
            raise ConfigError(f"graphs={self.graphs!r:.100} must be True or False.")
        device = chosen_device(self.device)
        check_precision(self.precision, device)
        if self.graphs and device.type != "cuda":
            raise ConfigError(
                f"graphs={self.graphs!r} on device={str(device)!r}; expected a CUDA device for it: pass "
                "graphs=False, or fit where there is a GPU."
            )

    @property
    def by_clock(self) -> bool:
        """Return whether the time budget alone ends the run."""
        return self.time_budget is not None and self.max_epochs is None and self.max_steps is None

    @property
    def peak(self) -> float:
        """Return the learning rate after the warm-up.

        >>> TrainConfig().peak, TrainConfig(time_budget=10).peak, TrainConfig(learning_rate=0.1).peak
        (0.002, 0.004, 0.1)
        """
        if self.learning_rate is not None:
            return self.learning_rate
        return 4e-3 if self.by_clock else 2e-3


def chosen_device(name: str) -> torch.device:
    """Return the device that ``name`` stands for, or raise :class:`ConfigError`."""
    wanted = "auto, cpu, cuda, cuda:1 or another device of this torch"
    if not isinstance(name, str):
        raise ConfigError(f"device={name!r} must be a string: {wanted}.")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"device={name!r} cannot be used here ({str(error).splitlines()[0]}); expected {wanted}. "
            'device="auto" takes a GPU where there is one.'
        ) from error
    if device.type == "meta":
        raise ConfigError(f"device={name!r} holds no numbers; expected {wanted}.")
    return device


def check_precision(precision: str, device: torch.device) -> None:
    """Raise :class:`ConfigError` where products in bfloat16 are asked of a device that has none."""
    if precision == "bfloat16" and device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f'precision="bfloat16" on device={str(device)!r}; expected a CPU or a CUDA device for it: pass '
            'precision="auto", which takes what the device has.'
        )
