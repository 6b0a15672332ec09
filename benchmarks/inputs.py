"""What to measure with: requests of any size, and weights where the real ones are missing."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RequestFiles", "SizeWH", "random_checkpoint", "stock_weights"]

SizeWH = tuple[int, int]
Fractions = tuple[float, float, float, float]
_PHOTO = Path(__file__).parent.parent / "examples" / "astronaut.jpg"
_QUALITY = 90
_NOISE = 4.0
_BOX: Fractions = (0.3, 0.25, 0.7, 0.85)


class RequestFiles:
    """Writes requests into a folder; each photograph is made once.

    Args:
        folder: where to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(
        self,
        size: SizeWH,
        *,
        box: Fractions = _BOX,
        clicks: int = 1,
        threshold: float | None = None,
    ) -> Path:
        """A request as a JSON file.

        Args:
            size: width and height of the photograph in pixels.
            box: left, top, right, bottom as fractions of width and height.
            clicks: how many, the first in the middle of the box, the others around it; every
                third is a negative one.
            threshold: the request's own, or the model's.
        """
        width, height = size
        x0, y0, x1, y1 = (
            round(part * side)
            for part, side in zip(box, (width, height, width, height), strict=True)
        )
        points = _spiral(((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0, y1 - y0), clicks)
        request: dict[str, object] = {
            "image": base64.b64encode(self.photo(size)).decode(),
            "obj_bbox": [[x0, y0], [x1, y1]],
            "pos_points": [p for n, p in enumerate(points) if n % 3 != 2],
            "neg_points": [p for n, p in enumerate(points) if n % 3 == 2],
        }
        if threshold is not None:
            request["threshold"] = threshold
        name = f"{width}x{height}-{x0}-{y0}-{x1}-{y1}-{clicks}-{threshold}.json"
        path = self._folder / name
        path.write_text(json.dumps(request))
        return path

    def photo(self, size: SizeWH) -> bytes:
        """The example photograph at another size, with grain, for enlarged it would have none."""
        path = self._folder / f"{size[0]}x{size[1]}.jpg"
        if not path.exists():
            small = cv2.imread(str(_PHOTO), cv2.IMREAD_COLOR)
            if small is None:
                raise FileNotFoundError(2, "The photograph to measure with is missing", str(_PHOTO))
            large = cv2.resize(small, size, interpolation=cv2.INTER_CUBIC)
            grain = np.random.default_rng(0).normal(0, _NOISE, (256, 256, 1))
            rows, columns = -(-size[1] // 256), -(-size[0] // 256)
            tiled = np.tile(grain.astype(np.int8), (rows, columns, 1))[: size[1], : size[0]]
            noisy = np.clip(large.astype(np.int16) + tiled, 0, 255).astype(np.uint8)
            cv2.imwrite(str(path), noisy, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        return path.read_bytes()


def _spiral(
    middle: tuple[float, float], size: Sequence[float], count: int
) -> list[tuple[float, float]]:
    """Points from the middle of a box outwards, none of them twice."""
    angles = np.arange(count) * 2.4
    radii = 0.45 * np.sqrt(np.arange(count) / max(count, 8))
    return [
        (
            round(middle[0] + float(size[0] * r * np.cos(a)), 1),
            round(middle[1] + float(size[1] * r * np.sin(a)), 1),
        )
        for a, r in zip(angles, radii, strict=True)
    ]


def random_checkpoint(architecture: str, path: Path) -> None:
    """Write a checkpoint with random parameters, but outputs of the usual size."""
    from iog.models.checkpoint import Checkpoint, write_checkpoint
    from iog.models.spec import own_spec

    spec = own_spec(path, architecture=architecture)
    note = {"note": "random parameters, for measuring only"}
    write_checkpoint(path, Checkpoint(spec, _random_state(architecture), note))


def stock_weights(path: Path) -> None:
    """Write random parameters of the ResNet-101 main network as `torch.save` does."""
    import torch

    torch.save(_random_state("iog-resnet101"), path)


def _random_state(architecture: str) -> dict[str, Tensor]:
    import torch

    from networks import build_network

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(architecture)
        # One pass lets every BatchNorm find its scale: through a hundred layers without, values
        # run out of the range of floats, and a mask of NaN is quickly written.
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        sides = (64, 256)
        maps = getattr(network, "click_maps", 0)
        channels = (5, maps) if maps else (5,)  # a click branch has an input of its own
        samples = [[torch.rand(2, n, side, side) * 255 for n in channels] for side in sides]
        with torch.no_grad():
            network.train()(*samples[0])
            logits = network.eval()(*samples[1])[-1]
        state = dict(network.state_dict())
        # Almost every pixel of a crop becomes object: no mask costs more to write.
        last = "Fine_net.final_predict.2"
        state[f"{last}.weight"] = state[f"{last}.weight"] / logits.std()
        state[f"{last}.bias"] = (state[f"{last}.bias"] - logits.mean()) / logits.std() + 4
    return state
