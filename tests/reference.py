"""What the official IOG code computes, as figures: `tests/data/` and the formulas behind it.

Every parameter of a network is filled by a formula of its name and shape alone; the official
network with that fill gave `reference_outputs.npz`, the official transforms on five made-up
images gave `reference_preproc.npz`.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

DATA = Path(__file__).parent / "data"
CASES = ("inside", "border", "large", "box", "tiny")
SIDES = ("coarse0", "coarse1", "coarse2", "coarse3", "fine")

# Means and variances that centre the five logit maps of a filled network.
_HEADS = {
    "main": {
        "Coarse_net.predict.0.5": (14.0, 12.0),
        "Coarse_net.predict.1.5": (-61.7, 124.0),
        "Coarse_net.predict.2.5": (13.2, 31.5),
        "Coarse_net.predict.3.5": (-5.6, 22.7),
        "Fine_net.final_predict.2": (15.4, 28.0),
    },
    "refinement": {
        "Coarse_net.predict.0.5": (31.7, 32.0),
        "Coarse_net.predict.1.5": (-64.8, 124.0),
        "Coarse_net.predict.2.5": (24.7, 31.5),
        "Coarse_net.predict.3.5": (-10.0, 56.0),
        "Fine_net.final_predict.2": (31.6, 54.0),
    },
}
_VARIANCES = {"backbone.bn1.running_var": 30000.0, "iog_points.1.running_var": 100.0}


@cache
def outputs() -> dict[str, NDArray[Any]]:
    """Outputs and intermediate features of the filled official networks."""
    with np.load(DATA / "reference_outputs.npz") as arrays:
        return dict(arrays)


@cache
def preprocessing() -> dict[str, NDArray[Any]]:
    """What the official transforms make of the five cases."""
    with np.load(DATA / "reference_preproc.npz") as arrays:
        return dict(arrays)


@cache
def case_figures(name: str) -> dict[str, Any]:
    """Boxes, points and scores of one case."""
    figures = json.loads((DATA / "reference_preproc_meta.json").read_text())
    case: dict[str, Any] = figures["cases"][name]
    return case


def case_masks(name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The object and the void of one case, bool [H, W]."""
    height, width = preprocessing()[f"{name}/image"].shape[:2]

    def unpack(key: str) -> NDArray[np.bool_]:
        bits = np.unpackbits(preprocessing()[f"{name}/{key}"], count=height * width)
        return bits.reshape(height, width).astype(bool)

    return unpack("gt"), unpack("void")


def prediction() -> NDArray[np.float32]:
    """The made-up probability map of the cases: float32 [512, 512] with a step edge."""
    yy, xx = np.mgrid[0:512, 0:512].astype(np.float64)
    e = ((xx - 255.5) / 170.0) ** 2 + ((yy - 255.5) / 200.0) ** 2
    return np.where(e < 1.0, 0.97 - 0.2 * e, 0.02).astype(np.float32)


def manifest(network: str) -> list[tuple[str, list[int], str]]:
    """Key, shape and dtype of every entry of the official state dict, in order."""
    suffix = {"main": "", "refinement": "_refinement"}[network]
    rows = json.loads((DATA / f"state_dict_manifest{suffix}.json").read_text())
    return [(key, shape, dtype) for key, shape, dtype in rows]


def fill(module: nn.Module, network: str) -> None:
    """Give every entry of ``module``'s state dict its reference value."""
    module.load_state_dict(
        {
            key: torch.from_numpy(np.asarray(_value(key, tuple(value.shape), network)))
            for key, value in module.state_dict().items()
        }
    )


def _value(key: str, shape: tuple[int, ...], network: str) -> NDArray[Any]:
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    seed = zlib.crc32(key.encode())
    u = np.random.RandomState(seed).random_sample(int(np.prod(shape))).reshape(shape)
    s = 2.0 * u - 1.0
    mean, variance = _HEADS[network].get(key.rpartition(".")[0], (0.0, 1.0))
    if key.endswith("running_mean"):
        value = 0.05 * s + mean
    elif key.endswith("running_var"):
        value = (0.75 + 0.5 * u) * _VARIANCES.get(key, variance)
    elif key.endswith("bias"):
        value = 0.05 * s
    elif len(shape) == 1:
        value = (1.0 + 0.1 * s) * (0.35 if key.endswith("bn3.weight") else 1.0)
    else:
        value = s * np.sqrt(3.0) * np.sqrt(2.0 / np.prod(shape[1:]))
    return value.astype(np.float32)


def network_input() -> torch.Tensor:
    """The image and first guidance maps: float32 [1, 5, 512, 512]."""
    blocks = np.random.RandomState(20200614).randint(0, 256, size=(3, 64, 64)).astype(np.int64)
    rgb = np.repeat(np.repeat(blocks, 8, axis=1), 8, axis=2)
    yy, xx = np.mgrid[0:512, 0:512]
    ramp = np.stack([xx // 2, yy // 2, (xx + yy) // 4])
    corners = [(96, 80), (96, 430), (410, 80), (410, 430)]
    maps = np.stack([_peaks([(250, 262)]), _peaks(corners)])
    x = np.concatenate([(rgb + 3 * ramp) // 4, maps]).astype(np.float32)
    return torch.from_numpy(x[None])


def click_maps() -> tuple[torch.Tensor, torch.Tensor]:
    """Click maps [1, 2, 512, 512]: the first prompts, then with one click more of each kind."""
    first = network_input()[:, 3:]
    corners = [(96, 80), (96, 430), (410, 80), (410, 430)]
    maps = np.stack([_peaks([(250, 262), (180, 300)]), _peaks([*corners, (380, 120)])])
    return first, torch.from_numpy(maps.astype(np.uint8).astype(np.float32)[None])


def _peaks(points: list[tuple[int, int]]) -> NDArray[np.float64]:
    yy, xx = np.mgrid[0:512, 0:512].astype(np.float64)
    maps = [np.exp(-4 * np.log(2) * ((xx - x) ** 2 + (yy - y) ** 2) / 100) for x, y in points]
    peak: NDArray[np.float64] = 255.0 * np.max(maps, axis=0)
    return peak
