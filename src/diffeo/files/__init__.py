"""Model files: one ``.safetensors`` file that says what a model is and cannot execute anything.

The metadata of the file has one key, ``diffeo``, a JSON object: the format version, the library version,
the description of the parts (:mod:`diffeo.registry`), free ``extra`` data, and a SHA-256 digest over the
description and every tensor. Saving twice writes identical bytes; there is no time or path in it.
"""

from diffeo.files.atomic import write_atomically
from diffeo.files.model import describe_file, load, save

__all__ = ["describe_file", "load", "save", "write_atomically"]
