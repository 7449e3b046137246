"""diffeo: exact probability densities of real data, learned with normalizing flows.

>>> import torch, diffeo
>>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).cumsum(-1)
>>> flow = diffeo.flows.RealNVP(2, couplings=4, hidden=(32,))
>>> result = diffeo.fit(flow, x, config=diffeo.TrainConfig(max_epochs=5))
>>> flow.log_prob(x).shape, flow.sample((3,)).shape
(torch.Size([500]), torch.Size([3, 2]))
"""

from diffeo import bijections, conditioners, distributions, errors, flows, laws
from diffeo._version import __version__
from diffeo.files import load
from diffeo.flows import Flow
from diffeo.registry import register

__all__ = [
    "Flow",
    "__version__",
    "bijections",
    "conditioners",
    "distributions",
    "errors",
    "flows",
    "laws",
    "load",
    "register",
]
