"""The click encoder of the refinement network."""

from __future__ import annotations

from torch import Tensor, nn

from networks.blocks import conv1x1, conv3x3


class ClickEncoder(nn.Sequential):
    """Guidance maps of all clicks to features at stride 16 (IOG, section 3.4).

    Input: float32 [N, 2, S, S], inside and outside maps in 0..255.

    Args:
        widths: channels of the four convolutions of stride 2.
        outputs: channels of the result.
    """

    def __init__(self, widths: tuple[int, int, int, int], outputs: int) -> None:
        layers: list[nn.Module] = []
        inputs = 2
        for width in widths:
            layers += [conv3x3(inputs, width, stride=2), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers += [conv1x1(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(*layers)

    def stages(self, clicks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features at strides 16, 8 and 4: [N, outputs | widths[2] | widths[1], ...]."""
        layers = list(self)
        stride4 = _run(layers[:6], clicks)
        stride8 = _run(layers[6:9], stride4)
        return _run(layers[9:], stride8), stride8, stride4


def _run(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x
