"""A small mask model for any environment: it finds things by their colour. "red things", "blue and green ..."

An adapter of `pipeline/segment/mask_model/child/mask_child.py`; Python 3.9 and numpy are all it knows.
"""

from __future__ import annotations

import os
import time

import numpy as np

NAME = "colours"
VERSION = "1"
OPTIONS = {"least": 150, "most": 100, "weights": "", "fail_at": "", "score": 0.75}
PATHS = ("weights",)
ONE_MASK = True

CHANNELS = {"red": 0, "green": 1, "blue": 2}


def load(options):
    print("loading: this line is no reply")
    os.write(1, b"nor is this one\n")
    if options["fail_at"] == "load":
        raise RuntimeError("no such weights")
    return options


def prepare(model, rgb):
    if model["fail_at"] == "prepare":
        raise RuntimeError("cannot encode")
    return rgb.astype(np.int64)


def answer(model, picture, query):
    words = query.split()
    if "sleep" in words:
        time.sleep(60)
    if "die" in words:
        print("out of memory: that was all")
        os._exit(7)
    if "shape" in words:
        return np.zeros((1, 3, 3), dtype=bool), [0.5], ""
    mask = np.ones(picture.shape[:2], dtype=bool)
    for name, channel in CHANNELS.items():
        if name in words:
            mask &= picture[..., channel] >= model["least"]
        else:
            mask &= picture[..., channel] <= model["most"]
    if "nothing" in words:
        return np.zeros((0, *mask.shape), dtype=bool), [], "there is none"
    return mask[None], [model["score"]], "I looked for " + query
