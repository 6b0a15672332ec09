"""Every request of `tests/request_cases.py`, sent to the real `iog serve`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.request_cases import Case, cases

CASES = list(cases())
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def client(bundled_server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=bundled_server, timeout=120, trust_env=False) as connection:
        yield connection


def test_there_are_enough_cases_and_each_has_its_name() -> None:
    names = [(case.group, case.name) for case in CASES]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}: {case.name}")
def test_case(client: httpx.Client, case: Case) -> None:
    answer = client.post("/", content=case.content(), headers=case.headers)
    assert answer.status_code == case.status, answer.text[:300]
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()
    if case.status == 200:
        assert content.keys() == case.keys
        if "mask" in content:
            mask = np.array(content["mask"])
            assert mask.shape == case.size
            assert set(np.unique(mask)) <= {0, 1}
            assert (content["points"] == []) == (not mask.any())
        return
    error = content["error"]
    assert error.keys() == {"code", "message", "field", "hint"}
    assert error["code"] == case.code
    assert error["message"].endswith(".")
    assert error["hint"].endswith(".")
    assert "Traceback" not in answer.text
    assert str(ROOT) not in answer.text


def test_the_worker_has_survived_it_all(client: httpx.Client) -> None:
    assert client.get("/health").json()["status"] == "ok"
    assert client.post("/", content=CASES[0].content()).status_code == 200


def test_the_table_in_the_documentation_is_what_is_answered() -> None:
    written = (ROOT / "docs" / "request-cases.md").read_text()
    # `test_case` has compared each answer with its case.
    rows = (f"| {case.group} | {case.name} | {case.status} | {case.code} |" for case in CASES)
    assert "\n".join(rows) in written
