from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dataloaders.geometry import CropRule
from dataloaders.instance_masks import InstanceMasks
from dataloaders.samples import Sample
from iog.errors import DatasetError, SettingsError
from iog.training.config import TrainingConfig
from iog.training.dataset import TrainingSamples, make_example
from iog.training.objectives import corrected_clicks
from tests.tiny_dataset import write_folder

CONFIG = TrainingConfig(
    crop=CropRule(input_size=64, margin_px=4, margin_ratio=0.18, corner_offset=2, fwhm=4),
    small_frame=48,
    steps=10,
    batch=4,
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> InstanceMasks:
    return InstanceMasks(write_folder(tmp_path_factory.mktemp("data")), split="train")


def test_an_example_depends_on_its_number_alone(objects: InstanceMasks) -> None:
    samples = TrainingSamples(objects, CONFIG)
    for a, b in zip(samples[33], TrainingSamples(objects, CONFIG)[33], strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(samples[33].x, samples[34].x)


def test_the_frame_grows_during_the_run(objects: InstanceMasks) -> None:
    samples = TrainingSamples(objects, CONFIG)
    assert len(samples) == 40
    assert samples[19].x.shape == (5, 48, 48)
    assert samples[20].x.shape == (5, 64, 64)
    assert CONFIG.frame_at(0).fwhm == pytest.approx(3)


def test_an_example_is_what_the_networks_take(objects: InstanceMasks) -> None:
    samples = TrainingSamples(objects, replace(CONFIG, centre_prob=0.0))
    for number in range(20, 30):
        x, label, valid, previous = samples[number]
        assert not previous.any()
        assert x.dtype == label.dtype == valid.dtype == torch.float32
        assert x.min() >= 0
        assert x.max() <= 255
        assert set(np.unique(label)) == {0.0, 1.0}
        assert set(np.unique(valid)) <= {0.0, 1.0}
        row, column = divmod(int(x[3].argmax()), 64)
        assert x[3, row, column] == 255
        assert label[0, row, column] == 1


def test_subsets_are_drawn_by_their_weight(
    objects: InstanceMasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, set_weights={"rings": 0.0})
    samples = TrainingSamples(objects, config)
    drawn: list[str] = []

    def watch(self: InstanceMasks, index: int) -> Sample:
        drawn.append(self.subset(index))
        return read(self, index)

    read = InstanceMasks.__getitem__
    monkeypatch.setattr(InstanceMasks, "__getitem__", watch)
    for number in range(12):
        samples[number]
    assert set(drawn) == {"discs"}


def test_an_object_that_vanishes_at_network_size_is_left_out(objects: InstanceMasks) -> None:
    sample = objects[0]
    speck = np.zeros((2000, 2000), np.bool_)
    speck[1000, 1000] = True
    speck[0, 0] = speck[1999, 1999] = True
    photo = np.zeros((2000, 2000, 3), np.uint8)
    vanishing = replace(sample, image=photo, mask=speck, void=np.zeros_like(speck))
    rng = np.random.default_rng(0)
    rule = replace(CONFIG.crop, antialias=True)
    assert make_example(vanishing, rule, CONFIG, rng) is None


def test_corrections_lie_on_the_errors() -> None:
    label = torch.zeros(2, 1, 32, 32)
    label[:, :, 8:24, 8:24] = 1
    logits = torch.full_like(label, -9.0)
    logits[1] = 9.0  # everything: the background is wrong
    maps = torch.zeros(2, 2, 32, 32)
    clicks = corrected_clicks(
        logits,
        label,
        torch.ones_like(label),
        maps,
        fwhm=4,
        max_clicks=3,
        rng=np.random.default_rng(0),
    )
    missed, leaked = clicks[0], clicks[1]
    assert missed[0].max() == 255
    assert missed[1].max() == 0
    assert leaked[0].max() == 0
    assert leaked[1].max() == 255
    assert (label[0, 0][missed[0] == 255] == 1).all()
    assert (label[1, 0][leaked[1] == 255] == 0).all()


def test_perfect_predictions_get_no_clicks() -> None:
    label = torch.zeros(1, 1, 32, 32)
    label[..., 8:24, 8:24] = 1
    maps = torch.rand(1, 2, 32, 32)
    clicks = corrected_clicks(
        label - 0.5,
        label,
        torch.ones_like(label),
        maps,
        fwhm=4,
        max_clicks=3,
        rng=np.random.default_rng(0),
    )
    assert torch.equal(clicks, maps)


def test_without_weights_every_object_comes_once_in_a_pass(
    objects: InstanceMasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = TrainingSamples(objects, replace(CONFIG, small_fraction=0.0))
    drawn: list[int] = []
    read = InstanceMasks.__getitem__

    def watch(self: InstanceMasks, index: int) -> Sample:
        drawn.append(index)
        return read(self, index)

    monkeypatch.setattr(InstanceMasks, "__getitem__", watch)
    count = len(objects)
    for number in range(2 * count):
        samples[number]
    first, second = drawn[:count], drawn[count:]
    assert sorted(first) == sorted(second) == list(range(count))
    assert first != second


def test_data_without_a_usable_object_is_a_sentence(objects: InstanceMasks) -> None:
    samples = TrainingSamples(objects, replace(CONFIG, min_area=10**6))
    with pytest.raises(DatasetError, match="fewer than min_area = 1000000 pixels"):
        samples[0]
    with pytest.raises(SettingsError, match="no object to train on"):
        TrainingSamples(objects, replace(CONFIG, set_weights={"rings": 0.0, "discs": 0.0}))


def test_composites_follow_from_the_settings(objects: InstanceMasks) -> None:
    plain = replace(CONFIG, photometric=False, box_jitter=0.0, small_fraction=0.0)
    mixed = replace(plain, affine_prob=1.0, copy_paste_prob=0.5, occlude_prob=0.5)
    pairs = [
        (TrainingSamples(objects, plain)[number], TrainingSamples(objects, mixed)[number])
        for number in range(8)
    ]
    assert sum(not torch.equal(first.label, second.label) for first, second in pairs) >= 6


def test_a_foreign_mask_comes_with_its_box_and_its_inside_point(objects: InstanceMasks) -> None:
    samples = TrainingSamples(objects, replace(CONFIG, foreign_prob=1.0, box_jitter=0.0))
    ious = []
    for number in range(20, 50):
        x, label, valid, previous = samples[number]
        assert previous.shape == label.shape
        assert previous.max() > 250
        mask = previous[0] > 127.5
        row, column = divmod(int(x[3].argmax()), 64)
        assert mask[row, column]
        truth, counted = label[0] > 0.5, valid[0] > 0.5
        ious.append(float((mask & truth & counted).sum() / ((mask | truth) & counted).sum()))
    assert min(ious) < 0.8
    assert max(ious) > 0.8
    plain = TrainingSamples(objects, CONFIG)
    assert not any(plain[number].previous.any() for number in range(20, 50))
