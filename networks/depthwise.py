"""A depthwise convolution that trains in bf16 on the CPU as fast as in float32.

oneDNN's bf16 kernels for the gradients of depthwise convolutions take up to 18 times as long as its
float32 kernels (a 5x5 kernel's weights, or stride 2). So the gradients are taken in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv(nn.Conv2d):
    """``nn.Conv2d`` with one group for each channel and without bias.

    Args:
        channels: of input and result.
        kernel: its side.
    """

    def __init__(
        self, channels: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> None:
        super().__init__(
            channels,
            channels,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=channels,
            bias=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, channels, H', W']."""
        trains = torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)
        if x.device.type != "cpu" or not trains or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        found: Tensor = _Bf16.apply(x, self.weight, self)  # type: ignore[no-untyped-call]
        return found


class _Bf16(torch.autograd.Function):
    """Forwards in bf16, backwards in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, conv: DepthwiseConv) -> Tensor:  # noqa: ANN401
        x = x.bfloat16().contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.place = (conv.stride, conv.padding, conv.dilation, conv.groups)
        stride, padding, dilation, groups = ctx.place
        return F.conv2d(x, weight.bfloat16(), None, stride, padding, dilation, groups)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        grad: Tensor,
    ) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.place

        def gradients(dtype: torch.dtype, *wanted: bool) -> list[Tensor]:
            found: list[Tensor] = torch.ops.aten.convolution_backward(
                grad.to(dtype),
                x.to(dtype),
                weight.to(dtype),
                None,
                stride,
                padding,
                dilation,
                False,
                (0, 0),
                groups,
                (*wanted, False),
            )
            return found

        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            # With stride 1 bf16 is the faster one here.
            dtype = torch.bfloat16 if stride == (1, 1) else torch.float32
            of_x = gradients(dtype, True, False)[0].bfloat16()
        if ctx.needs_input_grad[1]:
            of_weight = gradients(torch.float32, False, True)[1]
        return of_x, of_weight, None
