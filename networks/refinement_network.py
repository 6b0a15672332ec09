"""The refinement network: the image is encoded once, each click only decodes again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from networks.backbones import Backbone, Features
from networks.blocks import conv1x1, conv3x3
from networks.decoder import PSP, CoarseNet, FineNet, Pyramid
from networks.main_network import Logits


class ClickEncoder(nn.Sequential):
    """Guidance maps of all clicks to features at stride 16 (IOG, section 3.4).

    Input: float32 [N, maps, S, S], inside and outside maps and the mask to correct in 0..255.

    Args:
        widths: channels of the four convolutions of stride 2.
        out_channels: channels of the result.
        maps: 2, or 3 with the mask to correct.
    """

    def __init__(
        self, widths: tuple[int, int, int, int], out_channels: int, *, maps: int = 2
    ) -> None:
        layers: list[nn.Module] = []
        in_channels = maps
        for width in widths:
            layers += [conv3x3(in_channels, width, stride=2), nn.BatchNorm2d(width), nn.ReLU()]
            in_channels = width
        layers += [conv1x1(in_channels, out_channels), nn.BatchNorm2d(out_channels), nn.ReLU()]
        super().__init__(*layers)

    def stages(self, clicks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at strides 16, 8, 4, of ``out_channels``, widths[2] and widths[1] channels."""
        layers = list(self)
        stride4 = _run(layers[:6], clicks)
        stride8 = _run(layers[6:9], stride4)
        return _run(layers[9:], stride8), stride8, stride4


def _run(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


class RefinementNetwork(nn.Module):
    """IOG with a click branch beside the backbone (IOG, section 3.4).

    Args:
        backbone: gives the four features; its 5-channel input carries the first guidance maps.
        decoder_width: channels of CoarseNet and FineNet.
        psp_width: channels of the PSP's result.
        psp_stage_width: channels of each of its branches, a quarter of its input when left out.
        click_widths: channels of the click encoder's four strided convolutions.
        click_outputs: channels it adds to the deepest features.
        click_skips: also add the click features of strides 8 and 4 to the decoder, so that a
            click is felt where it was made. The published network does not.
        previous_mask: the click branch reads the mask to correct as a third map.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        decoder_width: int = 256,
        psp_width: int = 512,
        psp_stage_width: int | None = None,
        click_widths: tuple[int, int, int, int] = (64, 128, 256, 256),
        click_outputs: int = 64,
        click_skips: bool = False,
        previous_mask: bool = False,
    ) -> None:
        super().__init__()
        self.click_maps = 3 if previous_mask else 2
        stride4, stride8, stride16, deep = backbone.channels
        self.Coarse_net = CoarseNet((psp_width, stride16, stride8, stride4), width=decoder_width)
        self.Fine_net = FineNet(width=decoder_width)
        self.backbone = backbone
        self.psp4 = PSP(deep + click_outputs, psp_width, stage_width=psp_stage_width)
        self.iog_points = ClickEncoder(click_widths, click_outputs, maps=self.click_maps)
        self.click_skips: nn.ModuleList | None = None
        if click_skips:
            self.click_skips = nn.ModuleList(
                nn.Sequential(conv1x1(width, decoder_width), nn.BatchNorm2d(decoder_width))
                for width in (click_widths[2], click_widths[1])
            )

    def encode(self, x: Tensor) -> Features:
        """Encode an image with its first guidance maps; needed once per image, box and click.

        Args:
            x: float32 [N, 5, S, S]: R, G, B, inside map, outside map, each 0..255.
        """
        return self.backbone(x)  # type: ignore[no-any-return]

    def decode(self, features: Features, clicks: Tensor) -> Logits:
        """Predict from encoded features and the guidance maps of all clicks so far.

        Args:
            features: what ``encode`` returned.
            clicks: float32 [N, click_maps, S, S]: inside map, outside map and, where the network
                has it, the mask to correct (zeros for none), each 0..255.

        Returns:
            Five maps of raw logits [N, 1, S/4, S/4]; the last is the prediction.
        """
        pyramid = self._pyramid(features, clicks)
        a, b, c, d = self.Coarse_net(pyramid)
        return a, b, c, d, self.Fine_net(pyramid)

    def decode_fine(self, features: Features, clicks: Tensor) -> Tensor:
        """The last of ``decode``'s maps, without computing the others, which only train."""
        fine: Tensor = self.Fine_net(self._pyramid(features, clicks))
        return fine

    def _pyramid(self, features: Features, clicks: Tensor) -> Pyramid:
        skips = None
        if self.click_skips is None:
            deep_clicks = self.iog_points(clicks)
        else:
            deep_clicks, stride8, stride4 = self.iog_points.stages(clicks)
            skips = (self.click_skips[0](stride8), self.click_skips[1](stride4))
        deep = self.psp4(torch.cat([features.deep, deep_clicks], dim=1))
        return self.Coarse_net.fuse(
            deep, features.stride16, features.stride8, features.stride4, click_skips=skips
        )

    def forward(self, x: Tensor, clicks: Tensor) -> Logits:
        """``decode(encode(x), clicks)``."""
        return self.decode(self.encode(x), clicks)
