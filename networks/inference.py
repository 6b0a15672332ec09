"""The cheaper form of a trained network, for predicting: the same function, fewer operations.

* BatchNorm is folded into the convolutions, and the side heads, which only train, are left out.
* A point-wise convolution and a bilinear resize commute, for the weights of the resize sum to one.
  So convolutions come before the upsampling that the published networks put them after: PSP's
  bottleneck works on the 1, 4, 9 and 36 pooled cells, CoarseNet's upsampling convolutions on the
  coarser level, and FineNet's widest stage (4 x width channels at stride 4) on each level apart.
* The finest level of the pyramid is used by that stage only, and linearly. It is never formed:
  its part of the stage is computed from the backbone's features while encoding.
* Whatever does not depend on the clicks is computed by ``encode``, so that ``decode`` is only what
  a next click really changes.
"""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.backbones import Bottleneck, Features, MobileNetV1, ResNet101, SeparableConv
from networks.blocks import pool, resize
from networks.folding import fold, folded, layer
from networks.inferencedecoder import Decoder, Widest, sequences
from networks.mainnetwork import MainNetwork
from networks.psp import BINS, PSP
from networks.refinementnetwork import RefinementNetwork

__all__ = ["EncodedCrop", "InferenceNetwork", "inference_form"]

EncodedCrop = tuple[Tensor, ...]
"""Of a network with a click branch, what ``decode`` starts from: FineNet's two parts of the finest
level [N, 0.5 * width, S/4, S/4] and [N, width, S/4, S/4], the laterals of strides 8 and 16, PSP's
direct part, and its four pooled parts before their ReLU. Of one without, the finished logits
[N, 1, S, S]."""


def inference_form(network: nn.Module) -> InferenceNetwork:
    """Build the form for predicting from a trained network; its logits differ by rounding only.

    Args:
        network: a ``MainNetwork`` or ``RefinementNetwork``, on any device. It stays as it is; what
            is returned has tensors of its own, without gradients.

    Raises:
        TypeError: another kind of module.
    """
    if not isinstance(network, MainNetwork | RefinementNetwork):
        raise TypeError(f"{type(network).__name__} has no form for predicting")
    return InferenceNetwork(network).eval()


class InferenceNetwork(nn.Module):
    """A network for predicting; built by ``inference_form``.

    Args:
        network: what it is made from.
    """

    def __init__(self, network: MainNetwork | RefinementNetwork) -> None:
        super().__init__()
        self.refines = isinstance(network, RefinementNetwork)
        """Whether clicks go to ``decode``."""
        self.backbone = _folded_backbone(network.backbone)
        deep = network.backbone.channels[3]
        self.context = _Context(network.psp4, deep)
        self.decoder = Decoder(network.Coarse_net, network.Fine_net)
        self.clicks = _Clicks(network) if isinstance(network, RefinementNetwork) else None
        self.full_precision = (
            *(f"backbone.{name}" for name in self.backbone.full_precision),
            "decoder.predict.sum",
        )
        """Modules that stay in float32 where the others calculate in 16 bits."""

    def lowered(self, dtype: torch.dtype) -> Self:
        """Calculate in another type from now on, but for ``full_precision``."""
        if dtype != torch.float32:
            kept = tuple(f"{name}." for name in self.full_precision)
            for name, module in self.named_modules():
                if isinstance(module, nn.Conv2d) and not f"{name}.".startswith(kept):
                    module.to(dtype)
            if self.backbone.full_precision:
                getattr(self.backbone, self.backbone.full_precision[-1]).append(_Cast(dtype))
        return self

    def encode(self, x: Tensor) -> EncodedCrop:
        """All that can be computed before the clicks are known.

        Args:
            x: float32 [N, 5, S, S]: R, G, B, inside map, outside map, each 0..255.
        """
        features: Features = self.backbone(x.to(self.backbone.conv1.weight.dtype))
        crop = (*self.decoder.encode(features), *self.context.encode(features.deep))
        if self.refines:
            return crop
        return (self._finish(crop, None, (x.shape[-2], x.shape[-1])),)

    def decode(self, crop: EncodedCrop, clicks: Tensor) -> Tensor:
        """Logits [N, 1, S, S] for the maps of all clicks, float32 [N, 2, S, S], 0..255.

        A network without a click branch has its logits already; the maps are not looked at.
        """
        return self._finish(crop, clicks, (clicks.shape[-2], clicks.shape[-1]))

    def forward(self, x: Tensor, clicks: Tensor) -> Tensor:
        """``decode(encode(x), clicks)``."""
        return self.decode(self.encode(x), clicks)

    def _finish(self, crop: EncodedCrop, clicks: Tensor | None, size: tuple[int, int]) -> Tensor:
        if len(crop) == 1:
            return crop[0]
        branch, shortcut, stride8, stride16, direct, *pooled = crop
        deep_clicks = None
        if self.clicks is not None:
            assert clicks is not None
            clicks = clicks.to(direct.dtype)
            deep_clicks, added = self.clicks(clicks)
            if added is not None:
                stride8, branch, shortcut = (
                    stride8 + added[0],
                    branch + added[1],
                    shortcut + added[2],
                )
        deep = self.context.finish(direct, pooled, deep_clicks)
        logits: Tensor = self.decoder.finish(deep, stride16, stride8, (branch, shortcut))
        return resize(logits, size)


class _Context(nn.Module):
    """PSP. Its bottleneck is a sum of a direct part and one part for each pooled grid.

    Args:
        psp: what it is made from.
        features: how many of its input channels are the backbone's; the others are the clicks'.
    """

    def __init__(self, psp: PSP, features: int) -> None:
        super().__init__()
        stages = [folded(stage[1], stage[2]) for stage in sequences(psp.stages)]
        width = stages[0][0].shape[0]
        weight, shift = folded(psp.bottleneck[0], psp.bottleneck[1])
        clicks = weight.shape[1] - len(BINS) * width - features
        *pooled, direct = torch.split(weight, [*[width] * len(BINS), features + clicks], dim=1)
        self.stages = nn.ModuleList(layer((w[:, :features], bias)) for w, bias in stages)
        self.projections = nn.ModuleList(layer((w, shift), bias=False) for w in pooled)
        self.direct = layer((direct[:, :features], shift))
        self.click_stages: nn.ModuleList | None = None
        if clicks:
            self.click_stages = nn.ModuleList(
                layer((w[:, features:], bias), bias=False) for w, bias in stages
            )
            self.click_direct = layer((direct[:, features:], shift), bias=False)

    def encode(self, features: Tensor) -> tuple[Tensor, ...]:
        """The direct part and the pooled ones, before any ReLU."""
        pooled = zip(self.stages, pool(features, BINS), strict=True)
        return (self.direct(features), *(stage(cells) for stage, cells in pooled))

    def finish(self, direct: Tensor, pooled: list[Tensor], clicks: Tensor | None) -> Tensor:
        """PSP's output [N, outputs, S/16, S/16]."""
        size = (direct.shape[-2], direct.shape[-1])
        if clicks is not None:
            assert self.click_stages is not None
            direct = direct + self.click_direct(clicks)
            pooled = [
                part + stage(cells)
                for part, stage, cells in zip(
                    pooled, self.click_stages, pool(clicks, BINS), strict=True
                )
            ]
        for part, projection in zip(pooled, self.projections, strict=True):
            direct = direct + resize(projection(F.relu(part)), size)
        return F.relu(direct)


class _Clicks(nn.Module):
    """The click encoder, and what it adds to the decoder where the network has skips."""

    def __init__(self, network: RefinementNetwork) -> None:
        super().__init__()
        layers = list(network.iog_points)
        self.layers = nn.ModuleList(
            fold(conv, norm) for conv, norm in zip(layers[::3], layers[1::3], strict=True)
        )
        self.skips: nn.ModuleList | None = None
        if network.click_skips is not None:
            stride8, stride4 = sequences(network.click_skips)
            self.skips = nn.ModuleList(
                [
                    fold(stride8[0], stride8[1]),
                    Widest(network.Fine_net, 3, first=folded(stride4[0], stride4[1])),
                ]
            )

    def forward(self, clicks: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
        """Features at stride 16, and additions to level 2 and to FineNet's parts of level 3."""
        stages = []
        for conv in self.layers:
            clicks = F.relu(conv(clicks))
            stages.append(clicks)
        if self.skips is None:
            return clicks, None
        return clicks, (self.skips[0](stages[2]), *self.skips[1](stages[1]))


def _folded_backbone(backbone: ResNet101 | MobileNetV1) -> ResNet101 | MobileNetV1:
    """A backbone of the same kind whose BatchNorms are gone."""
    with torch.device("meta"):
        copy = type(backbone)(backbone.channels[0] // 4).requires_grad_(False)
    for source, target in zip(backbone.modules(), copy.modules(), strict=True):
        for conv, norm in _pairs(source):
            setattr(target, conv, fold(getattr(source, conv), getattr(source, norm)))
            setattr(target, norm, nn.Identity())
    return copy


class _Cast(nn.Module):
    """Ends the layers that calculate in float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """``x``, rounded."""
        return x.to(self.dtype)


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Names of the convolutions of a backbone's module, each with the BatchNorm after it."""
    if isinstance(module, Bottleneck):
        return [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")]
    if isinstance(module, SeparableConv):
        return [("depthwise", "bn1"), ("pointwise", "bn2")]
    if isinstance(module, ResNet101 | MobileNetV1):
        return [("conv1", "bn1")]
    children = list(module.children())
    shortcut = (
        isinstance(module, nn.Sequential) and len(children) == 2 and type(children[0]) is nn.Conv2d
    )
    return [("0", "1")] if shortcut else []
