"""The page's benchmark: it clicks in a real browser, and its report holds what a reader needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.page import MISSING, find_chromium, main


@pytest.mark.skipif(find_chromium() is None, reason=MISSING)
def test_a_report_has_every_kind_of_click_with_its_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--rounds", "1", "--size", "640x480", "--report", str(tmp_path)])

    printed = capsys.readouterr().out
    assert "Chromium " in printed
    assert "commit: " in printed
    (figures,) = tmp_path.glob("*.json")
    times = json.loads(figures.read_text())["640x480"]
    counts = {kind: {len(each) for each in parts.values()} for kind, parts in times.items()}
    assert counts == {"box": {2}, "first": {1}, "previewed": {1}, "next": {6}}
    for kind, parts in times.items():
        total, server, network, page = (
            np.array(parts[part]) for part in ("total", "server", "network", "page")
        )
        assert np.allclose(total, network + page)
        assert (network >= server).all()
        assert (network.max() == 0) == (kind == "previewed")
    (written,) = tmp_path.glob("*.md")
    assert "| 640 x 480 | next click |" in written.read_text()
