"""Whole steps as CUDA graphs: what bounds small flows on a GPU is the launches, and a graph is one.

A step always does the same to the same memory: only the rows, the learning rate and the weight of the
average differ, and those are copied to where the graph reads them. The first steps of each size of batch
are taken as they are, on a stream aside, which is when kernels are compiled and memory is found; the next
one is recorded, and from then on replayed. A recording does nothing by itself: no step is taken twice.

Source: PyTorch's notes on CUDA semantics, *CUDA Graphs*, "Whole-network capture".

The project's tests have not run this on a GPU: they hold what surrounds the recording to plain steps, with
a recorder that calls the step again; one test waits for a machine that has a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from diffeo.errors import ConfigError
from diffeo.objectives import Batch, MaximumLikelihood, Objective

#: Steps of each size of batch that are taken before one is recorded.
WARM = 3

#: A step's loss, and the norm of its gradient.
Results = tuple[Tensor, Tensor]

#: What replays a step, and the tensors that a replay writes its results to.
Recorded = tuple[Callable[[], object], Results]

#: (batch, learning rate, weight of the average) ↦ results; the latter two as tensors without dimensions.
Step = Callable[[Batch, Tensor, Tensor], Results]


class Recorder(Protocol):
    """What records a step: CUDA's graphs, or a stand-in where there is no GPU."""

    def aside(self, step: Callable[[], Results]) -> Results:
        """Take a step that is not recorded."""
        ...

    def record(self, step: Callable[[], Results]) -> Recorded:
        """Return what replays the step, and the tensors that a replay writes its results to."""
        ...


@dataclass
class _Held:
    """One size of batch: what its graph reads, and the graph once there is one."""

    batch: Batch
    rate: Tensor
    weight: Tensor
    taken: int = 0
    recorded: Recorded | None = None

    def fill(self, batch: Batch, rate: float, weight: float) -> None:
        """Copy a step's numbers to where the graph reads them."""
        self.batch.x.copy_(batch.x)
        if self.batch.context is not None and batch.context is not None:
            self.batch.context.copy_(batch.context)
        self.rate.fill_(rate)
        self.weight.fill_(weight)


class Graphs:
    """Steps that are recorded once for each size of batch, and replayed.

    Args:
        step: takes a step; it reads and writes the same memory each time, and does not wait for the device.
        recorder: what records it.

    >>> class Again:  # stands in for CUDA: a replay calls the step
    ...     def aside(self, step):
    ...         return step()
    ...     def record(self, step):
    ...         results = torch.zeros(()), torch.zeros(())
    ...         return lambda: [to.copy_(new) for to, new in zip(results, step())], results
    >>> graphs = Graphs(lambda batch, rate, weight: (batch.x.sum() * rate, weight.clone()), Again())
    >>> [float(graphs(Batch(torch.full((2, 1), float(k))), 0.5, 0.0)[0]) for k in range(6)]
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """

    def __init__(self, step: Step, recorder: Recorder) -> None:
        self._step, self._recorder = step, recorder
        self._held: dict[int, _Held] = {}

    def __call__(self, batch: Batch, rate: float, weight: float) -> Results:
        """Take a step on a batch; return its loss and the norm of its gradient.

        Raises:
            ConfigError: the step cannot be recorded.
        """
        held = self._held.get(len(batch.x))
        if held is None:
            context = None if batch.context is None else torch.empty_like(batch.context)
            own = replace(batch, x=torch.empty_like(batch.x), context=context)
            rates, weights = torch.zeros(2, dtype=torch.float32, device=batch.x.device).unbind()
            held = self._held[len(batch.x)] = _Held(own, rates, weights)
        held.fill(batch, rate, weight)
        step = partial(self._step, held.batch, held.rate, held.weight)
        if held.taken < WARM:
            held.taken += 1
            return self._recorder.aside(step)
        if held.recorded is None:
            held.recorded = self._recorded(step)
        replay, (loss, norm) = held.recorded
        replay()
        return loss.clone(), norm.clone()  # the next replay writes over them

    def forget(self) -> None:
        """Record anew: other memory may be what a step reads and writes from now on."""
        self._held.clear()

    def _recorded(self, step: Callable[[], Results]) -> Recorded:
        try:
            return self._recorder.record(step)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"graphs=True, and a step of this flow cannot be recorded ({reason:.200}); expected layers "
                "that do not wait for the device: pass graphs=False."
            ) from error


class CudaRecorder:
    """Records on a CUDA device.

    Args:
        device: where the flow is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def aside(self, step: Callable[[], Results]) -> Results:
        """Take a step on a stream of its own, before which and after which the others wait."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            results = step()
        current.wait_stream(self.stream)
        for each in results:
            each.record_stream(current)
        return results

    def record(self, step: Callable[[], Results]) -> Recorded:
        """Return the replay of a graph, and where it writes its results."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.cuda.graph(graph):
            results = step()
        return graph.replay, results


def check_graphs(objective: Objective, device: torch.device, *, gated: bool) -> None:
    """Raise :class:`ConfigError` where steps cannot be recorded, before the first of them.

    Objectives other than maximum likelihood may draw numbers of their own, or follow the run's progress: a
    recording would hold both as they were.
    """
    if type(objective) is not MaximumLikelihood:
        raise ConfigError(
            f"graphs=True with {objective!r:.60}; expected MaximumLikelihood(), whose steps are all alike: "
            "pass graphs=False."
        )
    if device.type != "cuda" or not gated:
        raise ConfigError(
            f"graphs=True on device={str(device)!r}; expected a CUDA device, and parameters of a floating "
            "dtype that torch's fused AdamW takes: pass graphs=False."
        )
