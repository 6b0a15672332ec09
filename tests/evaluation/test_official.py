from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dataloaders.geometry import Crop, CropRule
from dataloaders.samples import Sample
from iog.evaluation.protocols import THRESHOLDS, OfficialProtocol, stretched, threshold_ious
from tests import reference
from tests.evaluation.samples import Scripted, disc_sample

PUBLISHED = CropRule()


def _case(name: str) -> tuple[Sample, NDArray[np.float32]]:
    """The case and the made-up prediction pasted into its image."""
    mask, void = reference.case_masks(name)
    sample = Sample(
        image=reference.preprocessing()[f"{name}/image"].astype(np.uint8),
        mask=mask,
        void=void,
        image_id=name,
        object_index=0,
        category="",
        subset="",
    )
    crop = Crop.around(sample.tight_box(), PUBLISHED)
    return sample, crop.paste(reference.prediction(), (mask.shape[0], mask.shape[1]))


@pytest.mark.parametrize("name", reference.CASES)
class TestGolden:
    def test_ious_of_the_saved_images(self, name: str) -> None:
        sample, pasted = _case(name)
        figures = reference.case_figures(name)["jaccard_png_thresholds"]
        found = threshold_ious(pasted, sample, legacy_stretch=True)
        assert {str(t): v for t, v in zip(THRESHOLDS, found, strict=True)} == pytest.approx(
            figures, abs=1e-9
        )
        assert int(stretched(pasted).sum()) == reference.case_figures(name)["png_sum"]

    def test_ious_of_the_probabilities(self, name: str) -> None:
        sample, pasted = _case(name)
        score = OfficialProtocol(PUBLISHED).score(Scripted([pasted]), sample)
        found = {str(t): v for t, v in zip(THRESHOLDS, score.ious, strict=True)}
        figures = reference.case_figures(name)["jaccard_raw_thresholds"]
        assert {t: found[t] for t in figures} == pytest.approx(figures, abs=1e-9)

    def test_the_click_is_the_official_inside_point(self, name: str) -> None:
        sample, _ = _case(name)
        (click,) = OfficialProtocol(PUBLISHED).prompt(sample).pos_points
        official = reference.case_figures(name)["points_xy_center_lt_lb_rt_rb"][0]
        assert list(Crop.around(sample.tight_box(), PUBLISHED).pixel(click)) == official


def test_an_object_that_the_network_frame_loses_is_clicked_in_the_image() -> None:
    sample = disc_sample(side=60)
    mask = np.zeros_like(sample.mask)
    mask[2, 3] = mask[55, 50] = True
    thin = Sample(sample.image, mask, sample.void, "thin", 0, "", "")
    assert OfficialProtocol(CropRule(input_size=16, margin_px=5)).prompt(thin).pos_points == (
        (3.5, 2.5),
    )


def test_a_constant_probability_is_stretched_to_black() -> None:
    assert not stretched(np.full((2, 3), 0.7, np.float32)).any()


def test_stretched_masks_are_saved_by_image_and_object(tmp_path: Path) -> None:
    sample = disc_sample(side=40, number=2)
    answer = np.where(sample.mask, 0.8, 0.2)
    protocol = OfficialProtocol(PUBLISHED, legacy_stretch=True, masks=tmp_path / "run_0/Results")
    score = protocol.score(Scripted([answer]), sample)
    saved = cv2.imread(str(tmp_path / "run_0/Results/disc-2.png"), cv2.IMREAD_UNCHANGED)
    assert saved is not None
    np.testing.assert_array_equal(saved, np.where(sample.mask, 255, 0))
    assert score.ious == (1.0,) * len(THRESHOLDS)
    assert len(protocol.columns) == len(score.ious)
