"""diffeo, by its public parts; a training step is that of ``diffeo.fit``, by the same object.

Its windows of steps include what ``fit`` does in each: the batch taken from the training rows, the norm of
the gradient, and the guard that gates the optimizer. The average of the weights and clipping are off, so
that the arithmetic is that of Adam.
"""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import diffeo
from benchmarks.cases import Case
from benchmarks.libraries.library import BATCHES, RATE, Array, Lacks, Library, batches, chunks
from benchmarks.libraries.torch_library import stepped
from diffeo import Flow, TrainConfig
from diffeo.bijections import Autoregressive, Chain, Coupling, Mask
from diffeo.conditioners import MLP, MaskedMLP
from diffeo.distributions import StandardNormal
from diffeo.laws import Affine, Inverted, Law, RationalQuadratic
from diffeo.objectives import MaximumLikelihood
from diffeo.training.optimisation import Optimisation
from diffeo.training.plan import plan_for
from diffeo.training.split import Rows

#: Looked up here, so that what it imports is not timed.
ESTIMATOR: Any = diffeo.FlowDensity


class Adapter(Library):
    """diffeo; variants are "auto", "float32", "own" (of training), "constant" (memory), "estimator" (fits).

    "own" is a loop as the peers' users write it, through ``diffeo.accelerate``, in float32.
    """

    def build(self, case: Case) -> None:
        """Make the flow, and for training the object that ``fit`` drives."""
        self.case, self.at = case, 0
        if self.variant in ("float32", "own") and case.work != "train":
            raise Lacks("the same as diffeo: this is of training")
        torch.manual_seed(0)
        self.flow = self._flow(case)
        device = torch.device(case.device)
        if case.work == "train":
            x = torch.from_numpy(np.concatenate(batches(case))).to(device)
            self.flow.to(device)
            if self.variant == "own":
                self.rows = list(x.split(case.rows))
                self.fast = diffeo.accelerate(self.flow)
                self.optimizer = torch.optim.Adam(self.flow.parameters(), lr=RATE)
            else:
                self.running = self._running(x, case)
        elif case.work == "log_prob":
            found, self.count = chunks(case)
            self.rows = [torch.from_numpy(rows).to(device) for rows in found]
        self.flow.to(device).train(case.work == "train")

    def parameters(self) -> int:
        """Return how many numbers are trained."""
        return sum(p.numel() for p in self.flow.parameters())

    def train(self, steps: int) -> float:
        """Take a window of steps."""
        if self.variant == "own":
            loss = stepped(self.fast.log_prob, self.optimizer, self.rows, self.at, steps)
        else:
            losses, _ = self.running.run(self.at, self.at + steps, lambda _: RATE)
            loss = float(losses[-1])
        self.at += steps
        return loss

    @torch.no_grad()
    def log_prob(self) -> float:
        """Compute all densities."""
        total = 0.0
        for k in range(self.count):
            total += float(self.flow.log_prob(self.rows[k % len(self.rows)]).sum())
        return total / self.case.rows

    @torch.no_grad()
    def sample(self) -> float:
        """Draw, and read one number, which waits for the device."""
        return float(self.flow.sample((self.case.rows,))[0, 0])

    def fit(
        self, train: Array, held: Array, seconds: float, batch: int | None
    ) -> Iterator[tuple[float, float]]:
        """Call ``diffeo.fit``; its clock runs on through evaluations.

        The variant "estimator" calls ``diffeo.FlowDensity``, which chooses the flow and holds out training
        rows for that: ``held`` is scored when it is done.
        """
        if self.variant == "estimator":
            # The peers' measure: every column has a density, also one whose numbers repeat.
            kinds = {f"x{k}": "continuous" for k in range(train.shape[1])}
            model = ESTIMATOR(time_budget=seconds, random_state=0, verbose=False, kinds=kinds)
            begun = time.perf_counter()
            model.fit(train)
            spent = time.perf_counter() - begun
            yield spent, float(model.score_samples(held).mean())
            return
        found: list[tuple[float, float]] = []
        begun = time.perf_counter()
        config = TrainConfig(time_budget=seconds, batch_size=batch, device=self.case.device)

        def keep(evaluation: diffeo.training.Evaluation) -> None:
            found.append((time.perf_counter() - begun, -evaluation.held_out_nats))

        diffeo.fit(self.flow, train, validation=held, config=config, callback=keep, progress=False)
        yield from found

    def _flow(self, case: Case) -> Flow:
        layers = [self._layer(case, k) for k in range(case.layers)]
        if self.variant != "constant":
            return Flow(StandardNormal(case.features), Chain(*layers))
        if "memory" not in inspect.signature(Chain.__init__).parameters:
            raise Lacks('this version has no Chain(memory="constant")')
        options: dict[str, Any] = {"memory": "constant"}
        return Flow(StandardNormal(case.features), Chain(*layers, **options))

    def _layer(self, case: Case, k: int) -> Coupling | Autoregressive:
        law, hidden, d = _law(case), (case.hidden, case.hidden), case.features
        if case.structure == "autoregressive":
            order = "descending" if k % 2 else "ascending"
            network = MaskedMLP(d, law.n_params, hidden=hidden, activation="relu", order=order)
            return Autoregressive(law, network)
        mask = Mask.alternating(d, flip=k % 2 == 1)
        network = MLP(mask.n_passed, mask.n_moved, law.n_params, hidden=hidden, activation="relu")
        return Coupling(law, network, mask)

    def _running(self, x: torch.Tensor, case: Case) -> Optimisation:
        settings: dict[str, Any] = {
            "batch_size": case.rows,
            "learning_rate": RATE,
            "weight_decay": 0.0,
            "clip_norm": None,
            "averaging": 0.0,
            "max_steps": 10**9,
            "device": case.device,
            "graphs": case.device == "cuda",
        }
        names = {field.name for field in dataclasses.fields(TrainConfig)}
        if "precision" in names:
            settings["precision"] = "float32" if self.variant == "float32" else "auto"
        elif self.variant == "float32":
            raise Lacks("the same as diffeo: this version has one precision")
        config = TrainConfig(**settings)
        plan = plan_for(len(x), config)
        assert plan.batches == BATCHES
        running = Optimisation(
            self.flow, MaximumLikelihood(), Rows(x, None, torch.arange(len(x))), plan, config
        )
        unknown = settings.get("precision", "float32")
        self.precision = str(getattr(running, "precision", unknown)).removeprefix("torch.")
        return running


def _law(case: Case) -> Law:
    """Return the law; of a spline, the direction of the density is the formula and not its root."""
    return Affine(2.0) if case.law == "affine" else Inverted(RationalQuadratic(case.bins))
