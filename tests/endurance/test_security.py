"""What `SECURITY.md` promises and no other test holds."""

from __future__ import annotations

import ast
import base64
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import main
from iog.settings import Settings
from model_handler import ModelHandler
from tests import builders

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for folder in ("", "benchmarks/**/", "dataloaders/", "deploy/", "iog/**/", "networks/")
    for path in ROOT.glob(f"{folder}*.py")
)

# Events of the interpreter that reach outside the process.
_REACHING = ("open", "os.listdir", "os.scandir", "os.system", "os.exec", "os.posix_spawn")
_REACHING_TOO = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "urllib.Request")
_seen: list[str] | None = None


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is not None and event in _REACHING + _REACHING_TOO:
        _seen.append(f"{event} {arguments[:1]}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """Everything that the block opens, connects to or starts."""
    global _seen  # a hook stays for the life of the process
    if not hasattr(sys, "_iog_watched"):
        sys.addaudithook(_watch)
        sys._iog_watched = True  # type: ignore[attr-defined]
    seen: list[str] = []
    _seen = seen
    try:
        yield seen
    finally:
        _seen = None


@pytest.fixture(scope="module")
def function(small_model: Path) -> main.Function:
    settings = Settings(model=str(small_model), device="cpu", threads=1)
    return main.Function(settings, ModelHandler(settings))


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "../../../etc/passwd",
        "http://127.0.0.1:9/image.png",
        "https://example.org/image.png",
        "data:text/plain,/etc/passwd",
        "\\\\server\\share",
    ],
)
def test_no_path_and_no_address_from_a_request_is_opened(
    function: main.Function, address: str
) -> None:
    svg = f'<svg><image href="{address}"/></svg>'.encode()
    texts = [address, base64.b64encode(address.encode()).decode(), base64.b64encode(svg).decode()]
    # Once, so that what is imported late is there.
    main.respond(function, builders.body())
    main.respond(function, builders.body(svg))
    with watched() as seen:
        answers = [main.respond(function, builders.body(image=text)) for text in texts]
        fine = main.respond(function, builders.body(model=address, weights=address, path=address))
        for field in ("output", "threshold", "obj_bbox"):
            answers.append(main.respond(function, builders.body(**{field: address})))

    assert seen == []
    assert fine.status == 200
    assert {answer.status for answer in answers} <= {400, 415}


def test_every_kind_of_image_is_decoded_in_memory(function: main.Function) -> None:
    bodies = [builders.body(make()) for make in (builders.READABLE | builders.UNREADABLE).values()]
    for body in bodies:  # Pillow imports what it needs for a format when it meets it
        main.respond(function, body)
    function.model.forget()
    with watched() as seen:
        for body in bodies:
            main.respond(function, body)

    assert seen == []


def test_the_watch_sees_what_it_looks_for(tmp_path: Path) -> None:
    with watched() as seen:
        (tmp_path / "file").touch()
        (tmp_path / "file").read_bytes()

    assert any(str(tmp_path) in event for event in seen)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names}
            names.add((getattr(node, "module", None) or "").split(".")[0])
            assert not names & {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in {"eval", "exec", "os.system"}
        if called == "torch.load":
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert given.get("weights_only") == "True"
        assert all(word.arg != "allow_pickle" for word in node.keywords)  # numpy's, off by itself
        if called.startswith("subprocess."):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert given.get("shell", "False") == "False"


def test_calls_cross_over_to_workers_without_pickle() -> None:
    """`Connection.recv` unpickles; `recv_bytes` does not."""
    tree = ast.parse((ROOT / "iog" / "serving" / "worker.py").read_text())
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}

    assert {"recv_bytes", "send_bytes"} <= called
    assert not {"recv", "send"} & called


def test_an_answer_never_holds_a_path_or_a_traceback(
    function: main.Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(f"defect in {ROOT}/model_handler.py")

    monkeypatch.setattr(function.model, "predict", fail)
    answer = main.respond(function, builders.body())

    assert answer.status == 500
    assert set(json.loads(answer.body)["error"]) == {"code", "message", "field", "hint"}
    for secret in (str(ROOT), ".py", "Traceback", "RuntimeError", "defect"):
        assert secret not in answer.body
    assert "defect" in str(answer.report["traceback"])


def test_the_tests_that_the_promises_name_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)

    assert len(named) >= 10
    for path, name in named:
        source = (ROOT / path).read_text()
        assert not name or f"def {name}(" in source, f"{path}::{name}"


def test_the_image_runs_as_an_ordinary_user() -> None:
    dockerfile = ROOT / "Dockerfile"
    if not dockerfile.is_file():
        pytest.skip("there is no Dockerfile yet")
    users = re.findall(r"^USER\s+(\S+)", dockerfile.read_text(), flags=re.MULTILINE)

    assert users, "the image runs as root"
    assert users[-1].split(":")[0] not in {"root", "0"}
