"""The spline law for GPUs, compiled by Triton: a kernel forth and one back, where torch makes dozens.

``source`` is what Triton compiles. It is no package, and imported when a kernel is called: Triton comes
with torch's builds for CUDA, and with no others.
"""

from diffeo.kernels.triton.calls import available, knows, spline, takes

__all__ = ["available", "knows", "spline", "takes"]
