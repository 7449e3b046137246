"""Images read from files: whole pixel levels, labels where there are any, and where each came from."""

from diffeo.images.data.download import download
from diffeo.images.data.images import Images
from diffeo.images.data.read import read

__all__ = ["Images", "download", "read"]
