"""How each flow is built for a set: small for digits, as published or smaller for MNIST and CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffeo import images
from diffeo.bijections import Standardize
from diffeo.flows import Flow

#: Settings of each flow, by set.
SETTINGS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "digits": {
        "NICE": {"hidden": (256, 256, 256)},
        "RealNVP": {"scales": 2, "width": 24, "blocks": 1, "dropout": 0.1},
        "Glow": {"levels": 2, "steps": 6, "width": 48},
        "FlowPP": {"couplings": (2, 2, 1), "components": 6, "width": 32, "blocks": 1, "dropout": 0.1},
        "Jet": {"patch": 2, "couplings": 9, "width": 64, "blocks": 1, "heads": 4, "dropout": 0.1},
        "TarFlow": {
            "patch": 2,
            "width": 64,
            "transforms": 4,
            "blocks": 2,
            "heads": 4,
            "dropout": 0.1,
        },
    },
    "mnist": {
        "NICE": images.NICE_SETTINGS["mnist"],
        "NICE standardised": images.NICE_SETTINGS["mnist"],
        "RealNVP": {"scales": 2, "width": 32, "blocks": 4},
        "Glow": {"levels": 2, "steps": 16, "width": 128},
        "TarFlow": {"patch": 4, "width": 128, "transforms": 4, "blocks": 4, "heads": 4},
    },
    "cifar10": {
        "NICE": images.NICE_SETTINGS["cifar10"],
        "RealNVP": images.REAL_NVP_SETTINGS["cifar10"],
        "Glow": images.GLOW_SETTINGS["cifar10"],
        "Jet": {},
        "TarFlow": {"patch": 2, "width": 256, "transforms": 8, "blocks": 4, "heads": 4},
        "RealNVP small": {"scales": 2, "width": 32, "blocks": 2},
        "Glow small": {"levels": 3, "steps": 8, "width": 96},
        "TarFlow small": {"patch": 4, "width": 192, "transforms": 4, "blocks": 2, "heads": 4},
    },
}

#: Published bits per dimension. NICE's are of its nats, 1980.50 with pixels in [0, 1] and 5371.78 with
#: pixels in [−1, 1]: the 4.48 that is quoted is of that range, and in [0, 1] the same nats would be 5.48.
PUBLISHED: Mapping[tuple[str, str], float] = {
    ("mnist", "NICE"): 4.36,
    ("mnist", "RealNVP"): 1.06,
    ("mnist", "Glow"): 1.05,
    ("cifar10", "NICE"): 4.48,
    ("cifar10", "RealNVP"): 3.49,
    ("cifar10", "Glow"): 3.35,
    ("cifar10", "FlowPP"): 3.08,
}

#: α of the logit that squeezed pixels go through (NICE has none, as published).
ALPHA = 0.05


def built(name: str, chosen: str, shape: tuple[int, int, int], levels: int) -> images.ImageModel:
    """Return the model: pixels, or their logits, in units of each; "NICE" has them as published.

    That is as they are for MNIST, where the scales of pixels that are always black grow by the learning
    rate a step, and in [−1, 1] and whitened by ZCA for CIFAR-10. "NICE standardised" is the same flow, of
    pixels that the moments of the training images put in units of each.
    """
    kind = name.split()[0]
    flow: Flow = getattr(images, kind)(shape, **SETTINGS[chosen][name])
    if (name, chosen) == ("NICE", "cifar10"):
        return images.image_model(shape, levels, flow=flow, pixels="symmetric", whiten="zca")
    if (name, chosen) != ("NICE", "mnist"):
        flow = flow.then(Standardize(shape, "moments"))
    pixels = "unit" if kind == "NICE" else "logit"
    return images.image_model(shape, levels, flow=flow, pixels=pixels, alpha=ALPHA)
