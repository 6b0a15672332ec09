"""The decoder of the form for predicting: CoarseNet and FineNet without what only trains."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from networks.backbones import Features
from networks.blocks import resize
from networks.coarsenet import CoarseNet
from networks.finenet import FineBottleneck, FineNet
from networks.folding import Linear, fold, folded, layer, taps, then

__all__ = ["Decoder", "Widest", "sequences"]


class Decoder(nn.Module):
    """CoarseNet and FineNet up to the logits at stride 4."""

    def __init__(self, coarse: CoarseNet, fine: FineNet) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(fold(s[0], s[1]) for s in sequences(coarse.laterals))
        _, to_level2, to_level3 = sequences(coarse.upsamples)
        self.to_level2 = fold(to_level2[1], to_level2[2])
        self.cascade = nn.ModuleList(
            nn.Sequential(*(_Block(block) for block in blocks))
            for blocks in sequences(fine.cascade)[:3]
        )
        last = fine.final_predict[0]
        assert isinstance(last, FineBottleneck)
        self.widest = nn.ModuleList(Widest(fine, level) for level in range(3))
        self.finest = Widest(fine, 3, bias=True)
        self.through = Widest(fine, 3, first=folded(to_level3[1], to_level3[2]))
        self.conv2, self.conv3 = fold(last.conv2, last.bn2), fold(last.conv3, last.bn3)
        self.predict = _OneChannel(folded(fine.final_predict[1], fine.final_predict[2]))

    def encode(self, features: Features) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """FineNet's parts of the finest level, and the laterals of strides 8 and 16."""
        _, stride16, stride8, stride4 = self.laterals
        return (
            *self.finest(F.relu(stride4(features.stride4))),
            F.relu(stride8(features.stride8)),
            F.relu(stride16(features.stride16)),
        )

    def finish(
        self, deep: Tensor, stride16: Tensor, stride8: Tensor, fine: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Logits float32 [N, 1, S/4, S/4].

        Sums are in place, for torch takes long to set memory aside; what was encoded stays.
        """
        level0 = F.relu(self.laterals[0](deep))
        level1 = stride16 + level0
        half, whole = _size(stride8), _size(fine[0])
        level2 = stride8 + resize(self.to_level2(level1), half)
        parts = zip(
            fine,
            self.widest[0](self.cascade[0](level0)),
            self.widest[1](self.cascade[1](level1)),
            self.widest[2](self.cascade[2](level2)),
            self.through(level2),
            strict=True,
        )
        branch, shortcut = (
            resize(c.add_(d), whole).add_(resize(a.add_(b), whole)).add_(finest)
            for finest, a, b, c, d in parts
        )
        out = F.relu_(self.conv2(F.relu_(branch)))
        out = F.relu_(self.conv3(out).add_(shortcut))
        return self.predict(out)  # type: ignore[no-any-return]


class Widest(nn.Module):
    """FineNet's widest stage, as far as it is of one level: first convolution and shortcut.

    They are two layers, not one and a division, which would copy both.

    Args:
        fine: what it is made from.
        level: of the pyramid.
        first: a convolution that comes before; its bias counts.
        bias: whether it has a bias of its own; one of the levels must.
    """

    def __init__(
        self, fine: FineNet, level: int, *, first: Linear | None = None, bias: bool = False
    ) -> None:
        super().__init__()
        last = fine.final_predict[0]
        assert isinstance(last, FineBottleneck)

        def part(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
            weight, shift = folded(conv, norm)
            own = weight.chunk(4, dim=1)[level]
            return layer((own, shift), bias=bias) if first is None else layer(then(first, own))

        self.branch = part(last.conv1, last.bn1)
        self.shortcut = part(last.downsample[0], last.downsample[1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 0.5 * width, H, W] and [N, width, H, W]."""
        return self.branch(x), self.shortcut(x)


class _OneChannel(nn.Module):
    """A 3x3 convolution to one channel, as a point-wise one to nine and the sum of these, shifted.

    Kernels work on 16 channels at a time, so that all nine cost a ninth of the single one.

    Args:
        linear: the convolution, [1, inputs, 3, 3].
    """

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        each, shifted = taps(linear)
        self.taps = layer(each, bias=False)
        self.sum = layer(shifted, like=nn.Conv2d(9, 1, 3, padding=1, device="meta"))

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 1, H, W]: of 16 bits, the steps of a slope would show."""
        return self.sum(self.taps(x).float())  # type: ignore[no-any-return]


class _Block(nn.Module):
    """FineNet's residual block."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, FineBottleneck)
        self.conv1, self.conv2 = fold(block.conv1, block.bn1), fold(block.conv2, block.bn2)
        self.conv3 = fold(block.conv3, block.bn3)
        self.shortcut = fold(block.downsample[0], block.downsample[1])

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W]."""
        out = F.relu_(self.conv2(F.relu_(self.conv1(x))))
        return F.relu_(self.conv3(out).add_(self.shortcut(x)))


def sequences(modules: nn.ModuleList) -> list[nn.Sequential]:
    """The same modules, known to be sequences."""
    found = list(modules)
    assert all(isinstance(m, nn.Sequential) for m in found)
    return found  # type: ignore[return-value]


def _size(x: Tensor) -> tuple[int, int]:
    return (x.shape[-2], x.shape[-1])
