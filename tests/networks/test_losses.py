from __future__ import annotations

import pytest
import torch

from networks.losses import focal_bce, soft_iou_loss, summed_bce
from tests import reference


def _maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    arrays = reference.outputs()
    logit, label, void = (
        torch.from_numpy(arrays[f"loss/{name}"]).float() for name in ("logit", "label", "void")
    )
    return logit, label, void


def test_summed_bce_equals_the_official_loss() -> None:
    logit, label, void = _maps()
    assert summed_bce(logit, label).item() == pytest.approx(1702.8987, abs=1e-2)
    assert summed_bce(logit, label, void).item() == pytest.approx(1321.5380, abs=1e-2)
    averaged = summed_bce(logit, label, void, size_average=True)
    assert averaged.item() == pytest.approx(1.290564, abs=1e-5)


@pytest.mark.parametrize("loss", [focal_bce, soft_iou_loss])
def test_a_right_answer_costs_nothing_and_a_wrong_one_much(loss: object) -> None:
    assert callable(loss)
    label = torch.zeros(2, 1, 8, 8)
    label[:, :, 2:6, 2:6] = 1
    right = (label - 0.5) * 40
    valid = torch.ones_like(label)
    assert loss(right, label, valid) < 1e-3
    assert loss(-right, label, valid) > 0.5


@pytest.mark.parametrize("loss", [focal_bce, soft_iou_loss])
def test_void_pixels_have_no_gradient(loss: object) -> None:
    assert callable(loss)
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 8, 8, requires_grad=True)
    label = (torch.rand(1, 1, 8, 8) > 0.5).float()
    valid = torch.ones_like(label)
    valid[..., :4] = 0
    loss(logits, label, valid).backward()
    assert logits.grad is not None
    assert logits.grad[..., :4].abs().max() == 0
    assert logits.grad[..., 4:].abs().max() > 0


def test_losses_stay_finite_when_everything_is_void() -> None:
    logits, label = torch.randn(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    nothing = torch.zeros_like(label)
    assert torch.isfinite(focal_bce(logits, label, nothing))
    assert torch.isfinite(soft_iou_loss(logits, label, nothing))
