from __future__ import annotations

import json

import pytest

from tests.audit import verdict

GOOD = {"name": "numpy", "version": "2.0", "vulns": []}
BAD = {"name": "old", "version": "1.0", "vulns": [{"id": "PYSEC-1"}, {"id": "CVE-2"}]}
UNKNOWN = {"name": "ours", "skip_reason": "not found"}


def report(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        (report(GOOD, UNKNOWN), 0, "1 of 2 packages known, 0 with advisories"),
        (report(GOOD, BAD), 1, "old 1.0: PYSEC-1, CVE-2"),
        (report(UNKNOWN), 0, "SKIPPED"),
        ("", 0, "SKIPPED"),
        ("<html>", 0, "SKIPPED"),
    ],
)
def test_only_an_advisory_fails_the_audit(
    text: str, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verdict(text) == status
    said = capsys.readouterr()
    assert words in said.out + said.err
