"""The fused network: what a trained network computes, in fewer operations, for predicting only.

* BatchNorms, paddings and activations are fused into the convolutions, and the side heads, which
  only train, are left out.
* A point-wise convolution and a bilinear resize commute, because the weights of the resize sum to
  one. So the convolutions that the published networks apply after upsampling come before it: PSP's
  bottleneck works on the 1, 4, 9 and 36 pooled cells, CoarseNet's upsampling convolutions on the
  coarser level, and FineNet's last stage (4 x width channels at stride 4) on each level apart.
* Only that stage uses the finest level of the pyramid, and linearly. So that level is never formed:
  ``encode`` computes its part of the stage from the backbone's features.
* ``encode`` computes whatever does not depend on the clicks; ``decode`` only what a next click
  changes.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.backbones import (
    Backbone,
    Bottleneck,
    Features,
    InvertedBottleneck,
    SeparableConv,
)
from networks.blocks import pool, resize
from networks.decoder import BINS, PSP, CoarseNet, FineBottleneck, FineNet
from networks.fusing import (
    Activation,
    ConvParams,
    FusedConv,
    compose_1x1,
    conv_layer,
    fuse_norm,
    fused_layer,
    split_kernel,
)
from networks.main_network import MainNetwork
from networks.refinement_network import RefinementNetwork

__all__ = ["EncodedCrop", "FusedNetwork", "fuse"]

EncodedCrop = tuple[Tensor, ...]
"""What ``decode`` starts from. With a click branch: the last stage's two parts of the finest level
[N, 0.5 * width, S/4, S/4] and [N, width, S/4, S/4], the laterals of strides 8 and 16, PSP's direct
part, and its four pooled parts before their ReLU. Without one: the finished logits [N, 1, S, S]."""


def fuse(network: nn.Module) -> FusedNetwork:
    """Build the fused network of a trained one; its logits differ by rounding only.

    Args:
        network: a ``MainNetwork`` or ``RefinementNetwork``, on any device. It stays as it is; the
            fused network has tensors of its own, without gradients.

    Raises:
        TypeError: another kind of module.
    """
    if not isinstance(network, MainNetwork | RefinementNetwork):
        raise TypeError(f"a {type(network).__name__} cannot be fused")
    return FusedNetwork(network).eval()


class FusedNetwork(nn.Module):
    """A network for predicting; ``fuse`` builds it.

    Args:
        network: the trained network.
    """

    def __init__(self, network: MainNetwork | RefinementNetwork) -> None:
        super().__init__()
        self.backbone = _fused_backbone(network.backbone)
        self.psp = FusedPSP(network.psp4, network.backbone.channels[3])
        self.decoder = FusedDecoder(network.Coarse_net, network.Fine_net)
        self.clicks: FusedClicks | None = None
        self.click_maps = 2
        """Maps that ``decode`` takes: inside, outside and, with 3, the mask to correct."""
        if isinstance(network, RefinementNetwork):
            self.clicks = FusedClicks(network)
            self.click_maps = network.click_maps
        self.full_precision = (
            *(f"backbone.{name}" for name in self.backbone.full_precision),
            "decoder.predict.sum",
        )
        """Modules that stay in float32 where the others calculate in 16 bits."""

    @property
    def has_click_branch(self) -> bool:
        """Whether ``decode`` takes clicks into account."""
        return self.clicks is not None

    def cast(self, dtype: torch.dtype) -> Self:
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
        crop = (*self.decoder.encode(features), *self.psp.encode(features.deep))
        if self.has_click_branch:
            return crop
        return (self._finish(crop, None, (x.shape[-2], x.shape[-1])),)

    def decode(self, crop: EncodedCrop, clicks: Tensor) -> Tensor:
        """Logits [N, 1, S, S] for the maps of all clicks, float32 [N, click_maps, S, S], 0..255.

        Without a click branch the logits are in ``crop`` already, and only the maps' size counts.
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
            deep_clicks, added = self.clicks(clicks.to(direct.dtype))
            if added is not None:
                stride8, branch, shortcut = (
                    stride8 + added[0],
                    branch + added[1],
                    shortcut + added[2],
                )
        deep = self.psp.finish(direct, pooled, deep_clicks)
        logits: Tensor = self.decoder.finish(deep, stride16, stride8, (branch, shortcut))
        return resize(logits, size)


class FusedPSP(nn.Module):
    """PSP. Its bottleneck is the sum of a direct part and one part for each pooled grid.

    Args:
        psp: the trained module.
        features: how many of its input channels are the backbone's; the others are the clicks'.
    """

    def __init__(self, psp: PSP, features: int) -> None:
        super().__init__()
        stages = [fuse_norm(stage[1], stage[2]) for stage in _sequences(psp.stages)]
        width = stages[0][0].shape[0]
        weight, shift = fuse_norm(psp.bottleneck[0], psp.bottleneck[1])
        clicks = weight.shape[1] - len(BINS) * width - features
        *pooled, direct = torch.split(weight, [*[width] * len(BINS), features + clicks], dim=1)
        self.stages = nn.ModuleList(conv_layer((w[:, :features], bias)) for w, bias in stages)
        self.projections = nn.ModuleList(conv_layer((w, shift), bias=False) for w in pooled)
        self.direct = conv_layer((direct[:, :features], shift))
        self.click_stages: nn.ModuleList | None = None
        if clicks:
            self.click_stages = nn.ModuleList(
                conv_layer((w[:, features:], bias), bias=False) for w, bias in stages
            )
            self.click_direct = conv_layer((direct[:, features:], shift), bias=False)

    def encode(self, features: Tensor) -> tuple[Tensor, ...]:
        """The direct part and the pooled ones, before any ReLU."""
        pooled = zip(self.stages, pool(features, BINS), strict=True)
        return (self.direct(features), *(stage(cells) for stage, cells in pooled))

    def finish(self, direct: Tensor, pooled: list[Tensor], clicks: Tensor | None) -> Tensor:
        """PSP's output [N, out_channels, S/16, S/16]."""
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


class FusedClicks(nn.Module):
    """The click encoder, and what it adds to the decoder where the network has skips."""

    def __init__(self, network: RefinementNetwork) -> None:
        super().__init__()
        layers = list(network.iog_points)
        self.layers = nn.ModuleList(
            fused_layer(conv, norm, "relu")
            for conv, norm in zip(layers[::3], layers[1::3], strict=True)
        )
        self.skips: nn.ModuleList | None = None
        if network.click_skips is not None:
            stride8, stride4 = _sequences(network.click_skips)
            first = fuse_norm(stride4[0], stride4[1])
            self.skips = nn.ModuleList(
                [fused_layer(stride8[0], stride8[1]), FusionStage(network.Fine_net, 3, first=first)]
            )

    def forward(self, clicks: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
        """Features at stride 16, and additions to level 2 and to the last stage's parts."""
        stages = []
        for conv in self.layers:
            clicks = conv(clicks)
            stages.append(clicks)
        if self.skips is None:
            return clicks, None
        return clicks, (self.skips[0](stages[2]), *self.skips[1](stages[1]))


class FusedDecoder(nn.Module):
    """CoarseNet and FineNet up to the logits at stride 4."""

    def __init__(self, coarse: CoarseNet, fine: FineNet) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            fused_layer(s[0], s[1], "relu") for s in _sequences(coarse.laterals)
        )
        _, to_level2, to_level3 = _sequences(coarse.upsamples)
        self.to_level2 = fused_layer(to_level2[1], to_level2[2])
        self.cascade = nn.ModuleList(
            nn.Sequential(*(_FusedBottleneck(block) for block in blocks))
            for blocks in _sequences(fine.cascade)[:3]
        )
        last = _last_block(fine)
        self.stages = nn.ModuleList(FusionStage(fine, level) for level in range(3))
        self.finest = FusionStage(fine, 3, bias=True)
        self.upsample_path = FusionStage(fine, 3, first=fuse_norm(to_level3[1], to_level3[2]))
        self.conv2 = fused_layer(last.conv2, last.bn2, "relu")
        self.conv3 = fused_layer(last.conv3, last.bn3)
        self.predict = _ToOneChannel(fuse_norm(fine.final_predict[1], fine.final_predict[2]))

    def encode(self, features: Features) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The last stage's parts of the finest level, and the laterals of strides 8 and 16."""
        _, stride16, stride8, stride4 = self.laterals
        return (
            *self.finest(stride4(features.stride4)),
            stride8(features.stride8),
            stride16(features.stride16),
        )

    def finish(
        self, deep: Tensor, stride16: Tensor, stride8: Tensor, fine: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Logits float32 [N, 1, S/4, S/4].

        Sums are in place, because allocating takes torch long; the encoded tensors stay as they
        are.
        """
        level0 = self.laterals[0](deep)
        level1 = stride16 + level0
        half, whole = _size(stride8), _size(fine[0])
        level2 = stride8 + resize(self.to_level2(level1), half)
        parts = zip(
            fine,
            self.stages[0](self.cascade[0](level0)),
            self.stages[1](self.cascade[1](level1)),
            self.stages[2](self.cascade[2](level2)),
            self.upsample_path(level2),
            strict=True,
        )
        branch, shortcut = (
            resize(c.add_(d), whole).add_(resize(a.add_(b), whole)).add_(finest)
            for finest, a, b, c, d in parts
        )
        out = self.conv2(F.relu_(branch))
        out = F.relu_(self.conv3(out).add_(shortcut))
        return self.predict(out)  # type: ignore[no-any-return]


class FusionStage(nn.Module):
    """One level's part of FineNet's last stage: of its first convolution and of its shortcut.

    These are two layers: one layer and a split would copy both results.

    Args:
        fine: the trained module.
        level: of the pyramid.
        first: a convolution to apply before; its bias counts.
        bias: whether the part has the stage's bias; exactly one level must.
    """

    def __init__(
        self, fine: FineNet, level: int, *, first: ConvParams | None = None, bias: bool = False
    ) -> None:
        super().__init__()
        last = _last_block(fine)

        def part(conv: nn.Module, norm: nn.Module) -> FusedConv:
            weight, shift = fuse_norm(conv, norm)
            own = weight.chunk(4, dim=1)[level]
            if first is None:
                return conv_layer((own, shift), bias=bias)
            return conv_layer(compose_1x1(first, own))

        self.branch = part(last.conv1, last.bn1)
        self.shortcut = part(last.downsample[0], last.downsample[1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 0.5 * width, H, W] and [N, width, H, W]."""
        return self.branch(x), self.shortcut(x)


class _ToOneChannel(nn.Module):
    """A 3x3 convolution to one channel: a point-wise one to nine channels, shifted and summed.

    Kernels compute 16 channels at a time, so all nine cost a ninth of the single one.

    Args:
        params: the convolution, [1, in_channels, 3, 3].
    """

    def __init__(self, params: ConvParams) -> None:
        super().__init__()
        taps, shifts = split_kernel(params)
        self.taps = conv_layer(taps, bias=False)
        self.sum = conv_layer(shifts, like=nn.Conv2d(9, 1, 3, padding=1, device="meta"))

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 1, H, W]: in 16 bits, slopes would show steps."""
        return self.sum(self.taps(x).float())  # type: ignore[no-any-return]


class _FusedBottleneck(nn.Module):
    """FineNet's residual block."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, FineBottleneck)
        self.conv1 = fused_layer(block.conv1, block.bn1, "relu")
        self.conv2 = fused_layer(block.conv2, block.bn2, "relu")
        self.conv3 = fused_layer(block.conv3, block.bn3)
        self.shortcut = fused_layer(block.downsample[0], block.downsample[1])

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, out_channels, H, W]."""
        out = self.conv3(self.conv2(self.conv1(x)))
        return F.relu_(out.add_(self.shortcut(x)))


class _Cast(nn.Module):
    """Ends the layers that calculate in float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """``x``, rounded."""
        return x.to(self.dtype)


class _Names(NamedTuple):
    """Names, in a backbone's module, of a convolution and of what is fused into it."""

    conv: str
    norm: str
    activated: bool = False
    pad: str | None = None


def _fused_backbone(backbone: Backbone) -> Backbone:
    """A backbone of the same kind without BatchNorms, paddings and activations of their own."""
    with torch.device("meta"):
        copy = type(backbone)(backbone.width).requires_grad_(False)
    for source, target in zip(backbone.modules(), copy.modules(), strict=True):
        for names in _names_in(source):
            conv, norm = getattr(source, names.conv), getattr(source, names.norm)
            pad = None if names.pad is None else getattr(source, names.pad)
            activation = _ACTIVATIONS[type(source.activation)] if names.activated else "none"
            setattr(target, names.conv, fused_layer(conv, norm, activation, pad=pad))
            setattr(target, names.norm, nn.Identity())
            if names.pad is not None:
                setattr(target, names.pad, nn.Identity())
            if names.activated:
                target.activation = nn.Identity()
    return copy


_ACTIVATIONS: dict[type[object], Activation] = {nn.ReLU: "relu", nn.ReLU6: "relu6"}


def _names_in(module: nn.Module) -> list[_Names]:
    """The convolutions of a backbone's module, each with what is fused into it."""
    if isinstance(module, Bottleneck):
        return [_Names("conv1", "bn1", True), _Names("conv2", "bn2", True), _Names("conv3", "bn3")]
    if isinstance(module, SeparableConv):
        return [_Names("depthwise", "bn1", True, "pad"), _Names("pointwise", "bn2", True)]
    if isinstance(module, InvertedBottleneck):
        widening = [] if module.expand is None else [_Names("expand", "bn0", True)]
        return [*widening, _Names("depthwise", "bn1", True, "pad"), _Names("project", "bn2")]
    if isinstance(module, Backbone):
        return [_Names("conv1", "bn1", True, "pad" if hasattr(module, "pad") else None)]
    children = list(module.children())
    shortcut = (
        isinstance(module, nn.Sequential) and len(children) == 2 and type(children[0]) is nn.Conv2d
    )
    return [_Names("0", "1")] if shortcut else []


def _last_block(fine: FineNet) -> FineBottleneck:
    last = fine.final_predict[0]
    assert isinstance(last, FineBottleneck)
    return last


def _sequences(modules: nn.ModuleList) -> list[nn.Sequential]:
    """The same modules, typed as sequences."""
    found = list(modules)
    assert all(isinstance(m, nn.Sequential) for m in found)
    return found  # type: ignore[return-value]


def _size(x: Tensor) -> tuple[int, int]:
    return (x.shape[-2], x.shape[-1])
