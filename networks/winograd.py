"""3x3 convolutions with a quarter of the products, exact but for rounding.

Winograd's F(4 x 4, 3 x 3) (Lavin and Gray, CVPR 2016, section 4): tiles of 6 x 6 inputs and the
kernel are transformed, multiplied channel by channel, and the products transformed back to 4 x 4
outputs: 36 products instead of 144. A dilated convolution is that of every d-th pixel, d x d times.

Transformed kernels take four times the memory, and in bf16 the transforms lose too many digits: so
it is for models that run in float32, and is made while exporting.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from networks.fused import FusedNetwork
from networks.fusing import FusedConv, activate

__all__ = ["WinogradConv", "with_winograd"]

_OUT: Final = 4
_IN: Final = 6
_LEAST_CHANNELS: Final = 64
"""With fewer, the transforms take longer than is saved."""

# The transforms for the points 0, 1, -1, 2, -2 and infinity.
_INPUT: Final = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL: Final = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT: Final = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


def with_winograd(network: FusedNetwork, side: int) -> FusedNetwork | None:
    """The same network with its large 3x3 convolutions replaced; None if it has none.

    Args:
        network: stays as it is; all other layers are shared with it.
        side: of its inputs, for which alone the result works.
    """
    sizes = {name: size for name, size in _sizes(network, side) if _pays(network, name, size)}
    if not sizes:
        return None
    shared = {id(tensor): tensor for tensor in network.state_dict(keep_vars=True).values()}
    quick = copy.deepcopy(network, shared)
    for name, size in sizes.items():
        parent, _, own = name.rpartition(".")
        conv = network.get_submodule(name)
        assert isinstance(conv, FusedConv)
        setattr(quick.get_submodule(parent), own, WinogradConv(conv, size))
    return quick


class WinogradConv(nn.Module):
    """What a 3x3 convolution with a bias and without a stride computes, for one size of input.

    Args:
        conv: padded so that it keeps the size.
        size: height and width of its input, multiples of four times the dilation.
    """

    def __init__(self, conv: FusedConv, size: tuple[int, int]) -> None:
        super().__init__()
        assert conv.bias is not None
        self.activation = conv.activation
        self.dilation, self.size = conv.dilation[0], size
        kernel = torch.tensor(_KERNEL, dtype=torch.float64)
        weight = torch.einsum("ai,ocij,bj->aboc", kernel, conv.weight.detach().double(), kernel)
        self.weight = weight.flatten(0, 1).float().contiguous()  # [36, out_channels, in_channels]
        self.bias = conv.bias.detach()
        self.input_transform, self.output_transform = _both_ways(_INPUT), _both_ways(_OUTPUT)
        self.tile_pixels = _tile_pixels(size, self.dilation)
        self.pixel_places = _pixel_places(size, self.dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Map [1, in_channels, H, W] to [1, out_channels, H, W]."""
        d, (height, width) = self.dilation, self.size
        pixels = F.pad(x, (d, d, d, d)).permute(0, 2, 3, 1).reshape(-1, self.weight.shape[2])
        tiles = pixels.index_select(0, self.tile_pixels).view(_IN**2, -1)
        tiles = (self.input_transform @ tiles).view(_IN**2, -1, self.weight.shape[2])
        products = (tiles @ self.weight.transpose(1, 2)).view(_IN**2, -1)
        found = (self.output_transform @ products).view(-1, self.weight.shape[1])
        found = found.index_select(0, self.pixel_places) + self.bias
        return activate(found, self.activation).view(1, height, width, -1).permute(0, 3, 1, 2)


def _both_ways(matrix: tuple[tuple[int, ...], ...]) -> Tensor:
    """The transform of rows and columns as one matrix, for tiles flattened row by row."""
    one = torch.tensor(matrix, dtype=torch.float32)
    return torch.kron(one, one)


def _tile_pixels(size: tuple[int, int], dilation: int) -> Tensor:
    """Numbers of the padded input's pixels, by place in the tile and tile."""
    rows, columns = (_positions(length, dilation, _IN) for length in size)
    across = size[1] + 2 * dilation
    return (rows[:, None, :, None] * across + columns[None, :, None, :]).reshape(-1)


def _pixel_places(size: tuple[int, int], dilation: int) -> Tensor:
    """Where each pixel of the output is found among those of all tiles."""
    rows, columns = (_positions(length, dilation, _OUT) for length in size)
    pixels = (rows[:, None, :, None] * size[1] + columns[None, :, None, :]).reshape(-1)
    return torch.argsort(pixels)


def _positions(length: int, dilation: int, count: int) -> Tensor:
    """[count, tiles]: where a tile's rows (or columns) lie; tiles by phase of the dilation."""
    phase = torch.arange(dilation)[:, None]
    start = _OUT * dilation * torch.arange(length // (_OUT * dilation))
    first = (phase + start).reshape(-1)
    return first + dilation * torch.arange(count)[:, None]


def _sizes(network: FusedNetwork, side: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each convolution's name and the height and width of what it is given."""
    found: dict[str, tuple[int, int]] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, FusedConv):

            def note(_: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                found[name] = (given[0].shape[-2], given[0].shape[-1])

            hooks.append(module.register_forward_pre_hook(note))
    try:
        with torch.inference_mode():
            network(torch.zeros(1, 5, side, side), torch.zeros(1, network.click_maps, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    yield from found.items()


def _pays(network: FusedNetwork, name: str, size: tuple[int, int]) -> bool:
    conv = network.get_submodule(name)
    assert isinstance(conv, FusedConv)
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == (1, 1)
        and conv.groups == 1
        and conv.bias is not None
        and conv.padding == conv.dilation == (conv.dilation[0],) * 2
        and min(conv.in_channels, conv.out_channels) >= _LEAST_CHANNELS
        and all(length % (_OUT * conv.dilation[0]) == 0 for length in size)
    )
