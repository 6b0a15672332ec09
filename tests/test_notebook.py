"""examples/quickstart.ipynb runs, and the outputs kept in it are those of the present code."""

from __future__ import annotations

import base64
import json
import re
from itertools import chain
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools.coco import COCO

from tests.notebook import METADATA, NOTEBOOK, executed

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def kept() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def fresh() -> nbformat.NotebookNode:
    return executed()


def text(cell: nbformat.NotebookNode) -> str:
    """What a cell printed. Other weights give other numbers.

    On a busy machine a text comes in several outputs, and the cut may be in a number.
    """
    printed = [output for output in cell.get("outputs", ()) if output.output_type == "stream"]
    assert all(output.name == "stdout" for output in printed)
    return _NUMBER.sub("#", "".join(output.text for output in printed))


def pictures(notebook: nbformat.NotebookNode) -> list[list[NDArray[np.uint8]]]:
    """The pictures of each cell of code."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            shown = [
                o.data["image/jpeg"] for o in cell.outputs if "image/jpeg" in o.get("data", {})
            ]
            files = [np.frombuffer(base64.b64decode(data), np.uint8) for data in shown]
            found.append([np.asarray(cv2.imdecode(f, cv2.IMREAD_COLOR), np.uint8) for f in files])
    return found


def test_it_runs_and_prints_what_is_kept(
    kept: nbformat.NotebookNode, fresh: nbformat.NotebookNode
) -> None:
    assert [cell.source for cell in fresh.cells] == [cell.source for cell in kept.cells]
    assert [text(cell) for cell in fresh.cells] == [text(cell) for cell in kept.cells]


def test_its_pictures_show_what_the_kept_ones_show(
    kept: nbformat.NotebookNode, fresh: nbformat.NotebookNode
) -> None:
    before, now = pictures(kept), pictures(fresh)
    assert [len(shown) for shown in now] == [len(shown) for shown in before]
    assert [len(shown) for shown in now] == [0, 0, 1, 1, 1, 1, 1]  # after the two that prepare
    for old, new in zip(chain(*before), chain(*now), strict=True):
        assert old.shape == new.shape
        assert cv2.absdiff(old, new).mean() < 10  # masks of other weights differ at their edges


def test_it_is_small_and_holds_nothing_of_the_machine_it_ran_on(
    kept: nbformat.NotebookNode,
) -> None:
    assert NOTEBOOK.stat().st_size < 400_000
    assert kept.metadata == METADATA
    assert all(cell.metadata == {} for cell in kept.cells)
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    printed = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert not re.search(r"/\w+/", printed)


def test_its_links_lead_somewhere(kept: nbformat.NotebookNode) -> None:
    words = "".join(cell.source for cell in kept.cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", words)
    assert links
    assert all((NOTEBOOK.parent / link).exists() for link in links)


def test_its_boxes_are_a_coco_file_of_the_photographs_beside_it() -> None:
    path = NOTEBOOK.parent / "boxes.json"
    data = COCO(path)
    images = json.loads(path.read_text())["images"]
    assert len(images) == 3
    for image in images:
        pixels = cv2.imread(str(path.parent / image["file_name"]))
        assert pixels is not None
        assert pixels.shape == (image["height"], image["width"], 3)
        for row in data.imgToAnns[image["id"]]:
            x, y, width, height = row["bbox"]
            assert 0 <= x < x + width <= image["width"]
            assert 0 <= y < y + height <= image["height"]
            assert row["category_id"] in data.cats


def test_a_failing_cell_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell("1 / 0")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    monkeypatch.setattr("tests.notebook.NOTEBOOK", tmp_path / "n.ipynb")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        executed()
