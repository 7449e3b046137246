"""A user's own part, of unusual tensors; a module of its own, so that another process can run it too."""

import torch

from diffeo.bijections import Bijection


class Odd(Bijection):
    """x = z · 2^power, with tensors that say nothing, of every shape and dtype that a file can hold."""

    def __init__(self, power: int = 1, note: str = "", sizes=(1, 2), options=None) -> None:
        super().__init__()
        self.power, self.note, self.sizes, self.options = power, note, sizes, options
        self.scalar = torch.nn.Parameter(torch.tensor(3.0))
        self.empty_parameter = torch.nn.Parameter(torch.zeros(0))
        buffers = {
            "empty": torch.zeros(0, 3),
            "empty_inside": torch.zeros(2, 0, 4),
            "flag": torch.tensor(True),
            "flags": torch.tensor([True, False]),
            "count": torch.tensor(2**62),
            "bytes": torch.arange(256, dtype=torch.uint8),
            "small": torch.tensor([-7], dtype=torch.int8),
            "half": torch.tensor([1e-7, 6e4], dtype=torch.float16),
            "brain": torch.tensor([1e-38, 3e38], dtype=torch.bfloat16),
            "wide": torch.tensor([1 / 3], dtype=torch.float64),
            "special": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
            "strided": torch.arange(12.0).reshape(3, 4).T,
        }
        for name, value in buffers.items():
            self.register_buffer(f"held_{name}", value)

    def forward(self, z, context=None):
        return z * 2.0**self.power, z.new_full(z.shape[:-1], z.shape[-1] * self.power * 0.6931471805599453)

    def inverse(self, x, context=None):
        return x / 2.0**self.power, x.new_full(x.shape[:-1], -x.shape[-1] * self.power * 0.6931471805599453)
