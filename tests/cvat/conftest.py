"""What the tests of CVAT share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """cvat-sdk waits between its own attempts; here nothing gets better by waiting."""
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_: None)
