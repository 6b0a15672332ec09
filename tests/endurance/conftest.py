from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endurance.harness import Service, service, write_small_model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this folder take long, but for ten starts: a start that hangs must be seen soon."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.stem != "test_starts":
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model") / "small.pt")


@pytest.fixture(scope="session")
def small_service(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One worker with a network that costs little; nothing may kill it."""
    log = tmp_path_factory.mktemp("service") / "log"
    with service(log, "--model", str(small_model), IOG_CACHE_MB="16") as running:
        yield running
