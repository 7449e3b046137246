"""Two processes train as one."""

import torch

from diffeo.testing import CASES, Variant
from diffeo.testing.parallel import two_processes


def test_two_processes_train_as_one():
    variant = Variant(CASES["flows.RealNVP"], 3)
    figure = two_processes(variant.flow, variant.x)
    assert figure.ok, figure
    assert figure.tested > 20


def test_rows_that_do_not_divide_evenly_are_told():
    # 5 rows in halves of 3 and 2: the mean of means is not the mean.
    variant = Variant(CASES["flows.RealNVP"], 3)
    assert not two_processes(variant.flow, variant.x[:5] * torch.arange(1, 6)[:, None]).ok
