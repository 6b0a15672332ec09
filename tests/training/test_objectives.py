"""Losses of both kinds of network under both recipes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dataloaders.geometry import CropRule
from iog.training import objectives
from iog.training.config import TrainingConfig, Upstream
from iog.training.dataset import Example
from iog.training.objectives import Objective, batch_loss, upstream_click
from networks import MainNetwork, RefinementNetwork
from networks.backbones import EfficientNetLite2, Features, ResNet101
from networks.blocks import resize
from networks.losses import summed_bce
from networks.main_network import Logits

FRAME = 64
CONFIG = TrainingConfig(
    crop=CropRule(input_size=FRAME, fwhm=6), small_fraction=0.0, click_prob=1.0, side_weight=1.0
)


@pytest.fixture
def example() -> Example:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 5, FRAME, FRAME, generator=generator) * 255
    label = torch.zeros(2, 1, FRAME, FRAME)
    label[:, :, 16:48, 20:44] = 1
    x[:, :3] += 100 * label - 100 * (1 - label)
    valid = torch.ones_like(label)
    valid[:, :, :4] = 0
    return Example(x, label, valid, torch.zeros_like(label))


def main_network() -> nn.Module:
    torch.manual_seed(0)
    return MainNetwork(ResNet101(width=4), decoder_width=8, psp_width=16)


def refinement_network() -> nn.Module:
    torch.manual_seed(0)
    return RefinementNetwork(ResNet101(width=4), decoder_width=8, psp_width=16)


@pytest.mark.parametrize("build", [main_network, refinement_network])
@pytest.mark.parametrize("loss", ["focal_iou", "summed_bce"])
def test_learning_lowers_the_loss_on_one_batch(build: object, loss: str, example: Example) -> None:
    network = build()  # type: ignore[operator]
    config = replace(CONFIG, loss=loss, click_prob=0.0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    found = []
    for step in range(18):
        value = Objective(network, config)(*example, step)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        found.append(value.item())
    assert found[-1] < 0.9 * found[0]


def test_the_published_loss_sums_five_maps_at_full_size(example: Example) -> None:
    network = main_network()
    config = replace(CONFIG, loss="summed_bce")
    outputs = network(example.x)
    expected = sum(summed_bce(o, example.label, 1 - example.valid) for o in outputs)
    assert torch.is_tensor(expected)
    torch.testing.assert_close(batch_loss(network, example, config, 0), expected)
    twice = replace(config, upstream=Upstream(coarse3_twice=True))
    extra = summed_bce(outputs[3], example.label, 1 - example.valid)
    torch.testing.assert_close(batch_loss(network, example, twice, 0), expected + extra)


def test_void_pixels_do_not_matter(example: Example) -> None:
    changed = example._replace(label=torch.where(example.valid > 0, example.label, 1.0))
    for network in (main_network(), refinement_network()):
        for loss in ("focal_iou", "summed_bce"):
            config = replace(CONFIG, loss=loss, click_prob=0.0)
            network.eval()
            values = [float(batch_loss(network, e, config, 0).detach()) for e in (example, changed)]
            assert values[0] == pytest.approx(values[1], rel=0.03 if loss == "focal_iou" else 1e-6)


def test_bf16_gives_nearly_the_same_loss(example: Example) -> None:
    network = refinement_network()
    config = replace(CONFIG, click_prob=0.0)
    full, half = (
        float(batch_loss(network, example, replace(config, precision=p), 0).detach())
        for p in ("fp32", "bf16")
    )
    assert half == pytest.approx(full, rel=0.05)


@pytest.mark.parametrize(("iou", "passes"), [(0.9, 2), (0.96, 1)])
def test_a_good_first_pass_is_not_corrected(
    example: Example, monkeypatch: pytest.MonkeyPatch, iou: float, passes: int
) -> None:
    network = refinement_network()
    assert isinstance(network, RefinementNetwork)
    decode, calls = network.decode, []

    def counted(features: object, clicks: Tensor) -> object:
        calls.append(clicks)
        return decode(features, clicks)  # type: ignore[arg-type]

    monkeypatch.setattr(network, "decode", counted)
    monkeypatch.setattr(objectives, "_mean_iou", lambda *_: iou)
    batch_loss(network, example, replace(CONFIG, loss="summed_bce"), 0)
    assert len(calls) == passes


def test_corrective_clicks_are_as_wide_as_the_examples_own(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with accumulated batches, whose numbers run ahead of the steps."""
    widths: list[float] = []

    def watched(*tensors: Tensor, fwhm: float, **_: object) -> Tensor:
        widths.append(fwhm)
        return tensors[3]

    monkeypatch.setattr(objectives, "corrected_clicks", watched)
    config = replace(CONFIG, small_frame=FRAME, small_fraction=0.5, steps=10, accumulate=2)
    config = replace(config, crop=CropRule(input_size=2 * FRAME, fwhm=6))
    batch_loss(refinement_network(), example, config, 9)
    assert widths == [3.0]


def masks(*boxes: tuple[slice, slice]) -> Tensor:
    out = torch.zeros(len(boxes), 1, 32, 32)
    for mask, (rows, columns) in zip(out, boxes, strict=True):
        mask[0, rows, columns] = 1
    return out


@pytest.mark.parametrize(
    ("slips", "place", "channel"),
    [
        (Upstream(), (25, 3), 0),
        (Upstream(transposed_polarity=True), (25, 3), 1),
        (Upstream(unpadded_distance=True), (25, 0), 0),
    ],
)
def test_a_correction_repeats_only_the_slips_asked_for(
    slips: Upstream, place: tuple[int, int], channel: int
) -> None:
    truth = masks((slice(19, 32), slice(0, 7)))  # in the lower left, all of it missed
    empty = torch.zeros(1, 2, 32, 32)
    example = Example(torch.zeros(1, 5, 32, 32), truth, torch.ones_like(truth), truth * 0)
    maps = upstream_click(truth * 0 - 1, example, empty, fwhm=4, slips=slips)
    assert maps[0, 1 - channel].max() == 0
    row, column = divmod(int(maps[0, channel].argmax()), 32)
    assert abs(row - place[0]) <= 3
    assert abs(column - place[1]) <= 1


@pytest.mark.parametrize("clicks", [False, True])
def test_a_perfect_mask_is_clicked_only_by_the_official_code(clicks: bool) -> None:
    truth = masks((slice(8, 24), slice(8, 24)))
    empty = torch.zeros(1, 2, 32, 32)
    example = Example(torch.zeros(1, 5, 32, 32), truth, torch.ones_like(truth), truth * 0)
    slips = Upstream(click_at_origin=clicks)
    maps = upstream_click(truth - 0.5, example, empty, fwhm=4, slips=slips)
    assert bool(maps.any()) == clicks
    if clicks:
        assert maps[0, 1, 0, 0] == 255


def efficient_network() -> RefinementNetwork:
    torch.manual_seed(0)
    backbone = EfficientNetLite2(width=4)
    return RefinementNetwork(backbone, decoder_width=8, psp_width=16, previous_mask=True)


def decoded(
    network: RefinementNetwork, example: Example, config: TrainingConfig, steps: range
) -> list[Tensor]:
    """The click branch's maps of every step that learns."""
    seen: list[Tensor] = []
    learn = network.decode

    def watch(features: Features, clicks: Tensor) -> Logits:
        seen.append(clicks.detach())
        return learn(features, clicks)

    network.decode = watch  # type: ignore[method-assign]
    for step in steps:
        torch.autograd.backward(batch_loss(network, example, config, step))
    return seen


def test_a_first_click_comes_without_a_mask_and_corrections_with_the_networks_own(
    example: Example,
) -> None:
    network = efficient_network()
    for maps in decoded(network, example, replace(CONFIG, click_prob=0.0), range(3)):
        assert torch.equal(maps[:, :2], example.x[:, 3:])
        assert not maps[:, 2].any()
    own: list[Tensor] = []
    network.eval()  # BatchNorm with fixed statistics: the same mask in every step
    with torch.no_grad():
        features = network.encode(example.x)
        maps = torch.cat([example.x[:, 3:], example.previous], dim=1)
        own.append(torch.sigmoid(resize(network.decode_fine(features, maps), (FRAME, FRAME))) * 255)
    for maps in decoded(network, example, CONFIG, range(4)):
        assert torch.allclose(maps[:, 2:], own[0], atol=1e-3)
        assert (maps[:, :2] >= torch.floor(example.x[:, 3:])).all()
        assert not torch.equal(maps[:, :2], torch.floor(example.x[:, 3:]))


@pytest.mark.parametrize("click_prob", [0.0, 1.0])
def test_a_foreign_mask_is_kept_and_clicked_where_it_is_wrong(
    example: Example, click_prob: float
) -> None:
    foreign = torch.zeros_like(example.label)
    foreign[0, :, 16:48, 20:32] = 255  # the right half is missing
    empty = example.x.clone()
    empty[:, 3:] = 0
    example = Example(empty, example.label, example.valid, foreign)
    network = efficient_network().eval()
    config = replace(CONFIG, click_prob=click_prob, max_clicks=1)
    for maps in decoded(network, example, config, range(4)):
        assert torch.equal(maps[0, 2], foreign[0, 0])
        row, column = divmod(int(maps[0, 0].argmax()), FRAME)
        assert example.label[0, 0, row, column] == 1
        if not click_prob:  # one click, in the middle of what is missing
            assert column == 37
            assert 21 <= row <= 42
        assert bool(maps[1].any()) == bool(click_prob)  # it has no foreign mask


def test_first_clicks_and_corrections_share_their_batches(example: Example) -> None:
    """BatchNorm keeps one statistic: batches of one kind each would need two."""
    many = Example(*(torch.cat([part] * 8) for part in example))
    network = efficient_network()
    before = {key: value.clone() for key, value in network.named_buffers()}
    for maps in decoded(network, many, replace(CONFIG, click_prob=0.5), range(3)):
        corrected = maps[:, 2].flatten(1).any(dim=1)
        assert 0 < int(corrected.sum()) < 16
        assert torch.equal(maps[~corrected, :2], many.x[~corrected, 3:])
    counted = network.get_buffer("Fine_net.final_predict.2.num_batches_tracked")
    assert counted - before["Fine_net.final_predict.2.num_batches_tracked"] == 3
    assert network.training
