"""Diffusers' configurations of step caches as the cache of a request."""

import logging
from typing import Any

from wan22.errors import OptionError

logger = logging.getLogger("wan22")

NAMES = {"FirstBlockCacheConfig": "first-block", "MagCacheConfig": "magcache"}
"""Classes of `diffusers.hooks` that there is a cache for."""

_FIXED = {"max_skip_steps": 3, "retention_ratio": 0.2}
"""What MagCacheConfig can set otherwise, and every cache has here."""


def cache_of(config: Any) -> str:
    """Read a configuration such as FirstBlockCacheConfig(threshold=0.1), or a text such as "first-block:0.1".

    Raises OptionError for another cache, and for settings that are not followed. Ratios of magnitude are not taken from
    it, but from the calibration of the model, which serves any number of steps.
    """
    if isinstance(config, str):
        return config
    kind = type(config).__name__
    if kind not in NAMES:
        raise OptionError(
            f"{kind} is no step cache that is known here; take {', '.join(NAMES)}, or a text such as 'teacache:0.2'"
        )
    for name, value in _FIXED.items():
        if getattr(config, name, value) != value:
            raise OptionError(
                f"{name} is {value} in every step cache here, and {kind} asks for {getattr(config, name)}"
            )
    if getattr(config, "calibrate", False):
        raise OptionError("a model is calibrated by `wan22 generate --calibrate FILE`; leave calibrate away")
    if getattr(config, "mag_ratios", None) is not None:
        logger.warning("mag_ratios are not used; magcache reads the calibration of the model")
    return f"{NAMES[kind]}:{config.threshold:g}"
