"""The main IOG network: one guided image in, one mask out."""

from __future__ import annotations

from torch import Tensor, nn

from networks.backbones import Backbone
from networks.blocks import resize
from networks.decoder import PSP, CoarseNet, FineNet, Pyramid

Logits = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Four side predictions, deepest first, then the fine prediction: the one to use."""


class MainNetwork(nn.Module):
    """IOG without a click branch (IOG, section 3.3).

    Args:
        backbone: gives the four features.
        decoder_width: channels of CoarseNet and FineNet.
        psp_width: channels of the PSP's result.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        decoder_width: int = 256,
        psp_width: int = 512,
    ) -> None:
        super().__init__()
        stride4, stride8, stride16, deep = backbone.channels
        self.Coarse_net = CoarseNet((psp_width, stride16, stride8, stride4), width=decoder_width)
        self.Fine_net = FineNet(width=decoder_width)
        self.backbone = backbone
        self.psp4 = PSP(deep, psp_width)

    def forward(self, x: Tensor) -> Logits:
        """Predict the object that the guidance maps point at.

        Args:
            x: float32 [N, 5, 512, 512]: R, G, B, inside map, outside map, each 0..255.

        Returns:
            Five maps of raw logits [N, 1, 512, 512]; the last is the prediction.
        """
        pyramid = self._pyramid(x)
        size = (x.shape[-2], x.shape[-1])
        a, b, c, d = (resize(side, size) for side in self.Coarse_net(pyramid))
        return a, b, c, d, resize(self.Fine_net(pyramid), size)

    def _pyramid(self, x: Tensor) -> Pyramid:
        features = self.backbone(x)
        return self.Coarse_net.fuse(
            self.psp4(features.deep), features.stride16, features.stride8, features.stride4
        )
