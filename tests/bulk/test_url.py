"""Masks from a function at an address: what is sent, what is sent again, and when it gives up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from iog.bulk.local import LocalMapper
from iog.bulk.records import DEADLY, BoxedImage, BoxedObject, Failure, ImageOutcome, MaskRow
from iog.bulk.task import MaskTask
from iog.bulk.url import UrlMapper
from iog.cli.workplace import Workplace
from iog.errors import SettingsError
from iog.settings import Settings
from tests.builders import photo

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]] | None]
RLE = {"size": [40, 56], "counts": "PP1"}
BUSY = 503, {"error": {"code": "busy", "message": "Busy."}}
LOST = 503, {"error": {"code": "worker_lost", "message": "Its worker died."}}


def masks_of(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """What the function answers, with the box sent in place of the mask's."""
    objects = [{"box": box, "score": 0.5, "area": 7, "rle": RLE} for box in body["obj_bbox"]]
    return 200, {"objects": objects}


@contextmanager
def standing_in(answer: Answer, about: dict[str, Any] | None = None) -> Iterator[str]:
    """The address of a stand-in for the function; `None` as an answer drops the connection.

    `about` is what `/health` answers, if it does.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            told = answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if told is None:
                self.close_connection = True
            else:
                self.respond(*told)

        def respond(self, status: int, told: dict[str, Any]) -> None:
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.respond(200 if about else 404, about or {})

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iog.bulk.url._WAIT_SECONDS", 0.01)


def boxed(number: int, *boxes: tuple[float, float, float, float]) -> BoxedImage:
    objects = tuple(BoxedObject(100 * number + i, box, f"box {i}") for i, box in enumerate(boxes))
    return BoxedImage(number, f"{number}.png", photo(), objects)


def mapped(url: str, *images: BoxedImage, **options: Any) -> dict[int, ImageOutcome]:  # noqa: ANN401
    with closing(UrlMapper(url, requests=2, **options)) as mapper:
        return {outcome.image.number: outcome for outcome in mapper.map(iter(images))}


def test_an_image_is_sent_with_all_its_boxes() -> None:
    bodies: list[dict[str, Any]] = []
    many = [(i, 0.0, i + 9.0, 9.0) for i in range(20)]

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        bodies.append(body)
        return masks_of(body)

    with standing_in(answer) as url:
        found = mapped(url, boxed(1, *many), boxed(2, many[0]), threshold=0.25)

    assert sorted(len(body["obj_bbox"]) for body in bodies) == [1, 4, 16]
    assert {body["threshold"] for body in bodies} == {0.25}
    assert [number for number, _ in found[1].outcomes] == list(range(100, 120))
    rows = [row for _, row in found[1].outcomes if isinstance(row, MaskRow)]
    assert [row.box for row in rows] == [tuple(box) for box in many]
    assert {(row.size, row.counts, row.area, row.score) for row in rows} == {
        ((40, 56), "PP1", 7, 0.5)
    }


def test_an_object_with_points_is_sent_alone() -> None:
    bodies: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        bodies.append(body)
        return masks_of(body)

    plain, pointed = (0.0, 0.0, 9.0, 9.0), (1.0, 1.0, 8.0, 8.0)
    objects = (
        BoxedObject(1, pointed, "a", points=((2, 2, 1), (7, 7, 0))),
        BoxedObject(2, plain, "b"),
    )
    with standing_in(answer) as url:
        found = mapped(url, BoxedImage(0, "a.png", photo(), objects))

    asked = [(body["obj_bbox"], body["pos_points"], body["neg_points"]) for body in bodies]
    assert asked == [([list(plain)], [], []), ([list(pointed)], [[2, 2]], [[7, 7]])]
    assert [number for number, _ in found[0].outcomes] == [1, 2]


@pytest.mark.parametrize("trouble", [BUSY, (502, {}), None], ids=["busy", "proxy", "connection"])
def test_what_was_not_answered_is_sent_again(trouble: tuple[int, dict[str, Any]] | None) -> None:
    troubles = [trouble] * 3

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        return troubles.pop() if troubles else masks_of(body)

    with standing_in(answer) as url:
        found = mapped(url, boxed(1, (0.0, 0.0, 9.0, 9.0)))

    assert not troubles
    assert isinstance(found[1].outcomes[0][1], MaskRow)


def test_an_image_that_ends_workers_fails_alone() -> None:
    def answer(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return LOST if body["obj_bbox"][0][0] == 1 else masks_of(body)

    with standing_in(answer) as url:
        found = mapped(url, boxed(1, (1.0, 0.0, 9.0, 9.0)), boxed(2, (2.0, 0.0, 9.0, 9.0)))

    assert found[1].outcomes[0][1] == Failure(DEADLY)
    assert isinstance(found[2].outcomes[0][1], MaskRow)


def test_where_nothing_answers_the_run_ends() -> None:
    with (
        standing_in(lambda body: BUSY) as url,
        pytest.raises(SettingsError, match=r"gave no answer for 0\.2 seconds: .* status 503"),
    ):
        mapped(url, boxed(1, (0.0, 0.0, 9.0, 9.0)), patience=0.2)


@pytest.mark.parametrize("host", ["127.0.0.1:9", "nowhere.invalid"])
def test_an_address_at_which_nothing_stands_is_told_soon(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iog.bulk.url._FIRST_SECONDS", 0.2)
    with pytest.raises(SettingsError, match="Check the address, or start `iog serve --port N`"):
        mapped(f"http://{host}", boxed(1, (0.0, 0.0, 9.0, 9.0)), patience=60)


def test_a_function_that_falls_silent_is_waited_for_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("iog.bulk.url._SILENT_SECONDS", 0.0)
    troubles = [BUSY] * 3
    with standing_in(lambda body: troubles.pop() if troubles else masks_of(body)) as url:
        mapped(url, boxed(1, (0.0, 0.0, 9.0, 9.0)))

    told = capsys.readouterr().err
    assert told == (
        f"{url} does not answer: it answers with status 503. It is asked again for 180 seconds.\n"
    )


MODEL = {"model": "iog-lite", "engine": "openvino", "threshold": 0.5}


@pytest.mark.parametrize(
    ("about", "known"),
    [
        (MODEL, {"model": "iog-lite", "engine": "openvino", "threshold": "0.5"}),
        (None, {"url": "its own", "threshold": "the function's"}),
    ],
)
def test_the_journal_knows_the_model_or_else_the_address(
    about: dict[str, Any] | None, known: dict[str, str]
) -> None:
    with standing_in(masks_of, about) as url:
        found = Workplace(Settings(), url=url).about()
        chosen = Workplace(Settings(threshold=0.25), url=url).about()

    assert found == {name: url if name == "url" else value for name, value in known.items()}
    assert chosen == {**found, "threshold": "0.25"}


@pytest.mark.parametrize(
    "told", [(404, {}), (200, {"shapes": []}), (401, {"error": {"message": "Who are you?"}})]
)
def test_another_program_is_recognised(told: tuple[int, dict[str, Any]]) -> None:
    with (
        standing_in(lambda body: told) as url,
        pytest.raises(SettingsError, match=r"not .*as the function does"),
    ):
        mapped(url, boxed(1, (0.0, 0.0, 9.0, 9.0)))


def test_an_image_of_another_size_and_a_missing_one_fail() -> None:
    box = (0.0, 0.0, 9.0, 9.0)
    other = BoxedImage(1, "a.png", photo(), (BoxedObject(1, box, "a"),), size=(99, 9))
    missing = BoxedImage(2, "b.png", "nowhere.png", (BoxedObject(2, box, "b"),))
    with standing_in(masks_of) as url:
        found = mapped(url, other, missing)

    assert found[1].outcomes == (
        (1, Failure("The image is 56 x 40 pixels, but its boxes are meant for 9 x 99.")),
    )
    assert found[2].outcomes == ((2, Failure("nowhere.png: No such file or directory")),)


def test_iog_serve_gives_the_masks_of_a_local_run(bundled_server: str) -> None:
    examples = Path(__file__).parents[2] / "examples"
    boxes = [(5.0, 4.0, 370.0, 512.0), (900.0, 1.0, 905.0, 9.0), (180.0, 60.0, 270.0, 180.0)]
    objects = [BoxedObject(i, box, f"box {i}") for i, box in enumerate(boxes)]
    objects.append(BoxedObject(9, boxes[0], "box 9", points=((190.0, 320.0, 1),)))
    images = [
        BoxedImage(1, "a", str(examples / "astronaut.jpg"), tuple(objects)),
        BoxedImage(2, "b", b"no image", (BoxedObject(10, boxes[0], "box 10"),)),
    ]
    found = mapped(bundled_server, *images)
    assert Workplace(Settings(), url=bundled_server).about()["model"] == "iog-lite"
    with closing(LocalMapper(MaskTask(threads=1), 1)) as mapper:
        wanted = {outcome.image.number: outcome for outcome in mapper.map(iter(images))}

    for image in images:
        for (number, here), (_, there) in zip(
            wanted[image.number].outcomes, found[image.number].outcomes, strict=True
        ):
            if isinstance(here, MaskRow):
                assert isinstance(there, MaskRow), number
                assert (there.counts, there.box, there.area) == (here.counts, here.box, here.area)
                assert there.score == round(here.score, 4)
            else:
                assert there == here
