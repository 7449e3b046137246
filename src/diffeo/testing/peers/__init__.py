"""Modules of other libraries as diffeo's own parts, so that ``diffeo.verify`` checks them too.

    import zuko, diffeo
    from diffeo.testing import peers

    flow = zuko.flows.NSF(2, transforms=3)
    print(diffeo.verify(peers.from_zuko(flow)))

A whole flow becomes a :class:`~diffeo.flows.Flow` whose ``log_prob`` and ``sample`` are the peer's own, a
transform a :class:`~diffeo.bijections.Bijection`. No peer is imported here: an object is asked for the
methods that its library documents. What each calls forward:

| library | forward goes | here it is |
| --- | --- | --- |
| zuko | ``transform(x)`` → z, data to noise; ``transform.inv`` back | ``inverse`` |
| nflows | ``transform(x)`` → z, data to noise; ``transform.inverse`` back | ``inverse`` |
| normflows | ``flow(z)`` → x, noise to data; ``flow.inverse`` back | ``forward`` |
| FrEIA | ``module(x)`` → z, data to noise; ``module(z, rev=True)`` back | ``inverse`` |

Peers that take rows (n, *event) only are given rows: batch dimensions are joined before a call and parted
after it, and a log-determinant that is one number for all rows is repeated. So a report speaks of the
mathematics of a module and not of its calling convention.
"""

from diffeo.testing.peers.adapters import (
    PeerBase,
    PeerBijection,
    PeerChain,
    PeerFlow,
    from_freia,
    from_nflows,
    from_normflows,
    from_zuko,
)

__all__ = [
    "PeerBase",
    "PeerBijection",
    "PeerChain",
    "PeerFlow",
    "from_freia",
    "from_nflows",
    "from_normflows",
    "from_zuko",
]
