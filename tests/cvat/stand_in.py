"""A stand-in for CVAT's REST API, over real HTTP. It is not CVAT.

It keeps a few jobs in memory and does with them what CVAT's server does with its database: shapes
get new ids, deleting goes by id and within the job, frames are the task's. What it takes and what
it answers is checked against cvat-sdk's own models, which are made from CVAT's schema.
"""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from cvat_sdk import models
from cvat_sdk.api_client import Configuration
from cvat_sdk.api_client.model_utils import validate_and_convert_types
from cvat_sdk.exceptions import OpenApiException
from PIL import Image

Content = dict[str, Any]
TOKEN = "a-token"
USER = ("ann", "secret")
PAGE = 2
"""Entries of a page, whatever is asked for: so few that every list has several pages."""


@dataclass
class StandInJob:
    """A job of the stand-in: what its database would hold."""

    number: int
    task: int
    start: int
    stop: int
    shapes: list[dict[str, Any]] = field(default_factory=list)
    tracks: list[dict[str, Any]] = field(default_factory=list)
    tags: list[dict[str, Any]] = field(default_factory=list)
    kind: str = "annotation"
    mode: str = "annotation"
    dimension: str = "2d"


@dataclass
class Fault:
    """What goes wrong with the next request that fits."""

    what: str
    """A status such as ``500``; ``lost before`` or ``lost after``: the connection ends before or
    after the work is done; ``forgotten``: it answers 200 and does nothing."""
    method: str
    path: str
    """A regular expression."""
    times: int = 1


class StandIn:
    """The server's state, and what tests look at."""

    def __init__(self) -> None:
        self.jobs: dict[int, StandInJob] = {}
        self.labels: list[dict[str, Any]] = []
        self.deleted_frames: list[int] = []
        self.frames: dict[int, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.before_patch: Any = None
        self._id = 1000
        self._lock = threading.Lock()

    def number(self) -> int:
        self._id += 1
        return self._id

    def label(self, name: str, kind: str = "any", attributes: tuple[str, ...] = ()) -> int:
        specs: list[Content] = [
            {"id": self.number(), "name": each, "mutable": each.startswith("now "),
             "input_type": "text", "default_value": "", "values": []}
            for each in attributes
        ]  # fmt: skip
        label: Content = {"id": self.number(), "name": name, "type": kind, "color": "#ff0000",
                 "attributes": specs, "sublabels": [], "has_parent": False}  # fmt: skip
        self.labels.append(label)
        return self._id

    def changes(self) -> list[str]:
        """Requests that change annotations."""
        return [path for method, path in self.requests if method == "PATCH"]

    def rectangles(self, job: int) -> list[int]:
        return [each["id"] for each in self.jobs[job].shapes if each["type"] == "rectangle"]

    def masks(self, job: int) -> list[dict[str, Any]]:
        return [each for each in self.jobs[job].shapes if each["type"] == "mask"]

    def picture(self, frame: int, array: np.ndarray[Any, Any], form: str = "PNG") -> None:
        file = io.BytesIO()
        Image.fromarray(array).save(file, form)
        self.frames[frame] = file.getvalue()

    def answer(
        self, method: str, path: str, query: dict[str, str], body: Content, who: bool
    ) -> tuple[int, Any]:
        """Status and content of an answer."""
        if path == "/api/auth/login":
            if (body.get("username"), body.get("password")) != USER:
                return 400, {"non_field_errors": ["Unable to log in with provided credentials."]}
            return 200, {"key": "k"}
        if not who:
            return 401, {"detail": "Authentication credentials were not provided."}
        if path == "/api/users/self":
            return 200, _checked(models.BasicUser, {"id": 1, "username": USER[0]})
        if path == "/api/jobs":
            listed = [self._job(each) for each in self.jobs.values() if self._is_of(each, query)]
            return self._page(path, listed, query, "Job")
        if path == "/api/labels":
            return self._page(path, self.labels, query, "Label")
        if found := re.fullmatch(r"/api/(tasks|projects)/(\d+)", path):
            numbers = {each.task for each in self.jobs.values()}
            known = int(found[2]) in numbers if found[1] == "tasks" else found[2] == "1"
            return (200, {"id": int(found[2])}) if known else _not_found(found[1])
        if found := re.fullmatch(r"/api/jobs/(\d+)(/\S*?)?/?", path):
            job = self.jobs.get(int(found[1]))
            if job is None:
                return _not_found("Job")
            return self._of_job(job, method, found[2] or "", query, body)
        return 404, {"detail": f"the stand-in has no {path}"}

    def _of_job(
        self, job: StandInJob, method: str, what: str, query: dict[str, str], body: Content
    ) -> tuple[int, Any]:
        if what == "":
            return 200, self._job(job)
        if what == "/data/meta":
            return 200, self._meta(job)
        if what == "/data":
            frame = int(query["number"])
            assert query["type"] == "frame"
            assert query["quality"] == "original"
            if not job.start <= frame <= job.stop:
                return 400, ["The frame is not in the job"]
            return 200, self.frames[frame]
        if what == "/annotations" and method == "GET":
            content = {"version": 0, "tags": job.tags, "shapes": job.shapes, "tracks": job.tracks}
            return 200, _checked(models.LabeledData, content)
        if what == "/annotations" and method == "PATCH":
            if self.before_patch:
                self.before_patch()
            return self._patched(job, query["action"], body)
        return 404, {"detail": f"the stand-in has no {what}"}

    def _patched(self, job: StandInJob, action: str, body: Content) -> tuple[int, Any]:
        try:
            _checked(models.PatchedLabeledDataRequest, body)
        except OpenApiException as error:
            return 400, {"detail": str(error)}
        if action == "create":
            known = {each["id"] for each in self.labels}
            specs = {spec["id"] for each in self.labels for spec in each["attributes"]}
            for shape in body["shapes"]:
                if shape["label_id"] not in known:
                    return 400, [f"label_id `{shape['label_id']}` is invalid"]
                if wrong := {each["spec_id"] for each in shape["attributes"]} - specs:
                    return 400, [f"spec_id `{wrong.pop()}` is invalid"]
            job.shapes += [
                {"elements": [], "outside": False, **each, "id": self.number(),
                 "points": [float(point) for point in each["points"]]}
                for each in body["shapes"]
            ]  # fmt: skip
            job.shapes.sort(key=lambda each: each["frame"])
        elif action == "delete":
            gone = {each["id"] for each in body["shapes"]}
            job.shapes = [each for each in job.shapes if each["id"] not in gone]
            gone = {each["id"] for each in body["tracks"]}
            job.tracks = [each for each in job.tracks if each["id"] not in gone]
        else:
            return 400, ["the stand-in only creates and deletes"]
        return 200, body

    def _is_of(self, job: StandInJob, query: dict[str, str]) -> bool:
        if "task_id" in query:
            return job.task == int(query["task_id"])
        return "project_id" in query and query["project_id"] == "1"

    def _job(self, job: StandInJob) -> Content:
        return _checked(
            models.JobRead,
            {
                "id": job.number, "task_id": job.task, "type": job.kind, "mode": job.mode,
                "dimension": job.dimension, "start_frame": job.start, "stop_frame": job.stop,
                "frame_count": job.stop - job.start + 1, "state": "in progress",
                "issues": {"count": 0, "url": ""}, "labels": {"url": ""},
            },
        )  # fmt: skip

    def _meta(self, job: StandInJob) -> Content:
        count = job.stop - job.start + 1
        listed = [{"name": f"p/{job.start + n}.png", "width": 64, "height": 48, "related_files": 0}
                  for n in range(1 if job.mode == "interpolation" else count)]  # fmt: skip
        inside = [each for each in self.deleted_frames if job.start <= each <= job.stop]
        # A video's own numbers: its third frame is the task's first, and every fifth is one.
        video = {"start_frame": 2, "stop_frame": 2 + 5 * (count - 1), "frame_filter": "step=5"}
        return _checked(
            models.DataMetaRead,
            {
                "chunks_updated_date": "2026-11-25T00:00:00Z", "frames": listed, "size": count,
                "deleted_frames": inside, "chunk_size": 36, "image_quality": 70,
                **(video if job.mode == "interpolation" else {"start_frame": job.start}),
            },
        )  # fmt: skip

    def _page(
        self, path: str, entries: list[Any], query: dict[str, str], kind: str
    ) -> tuple[int, Any]:
        page = int(query.get("page", 1))
        more = page * PAGE < len(entries)
        content = {
            "count": len(entries),
            "next": f"http://x{path}?page={page + 1}" if more else None,
            "previous": None,
            "results": entries[(page - 1) * PAGE : page * PAGE],
        }
        models_of = {"Job": models.PaginatedJobReadList, "Label": models.PaginatedLabelList}
        return 200, _checked(models_of[kind], content)

    def fault(self, method: str, path: str) -> str:
        """What shall go wrong with this request, if anything."""
        with self._lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault.what
        return ""


def _checked(model: type, content: Content) -> Content:
    validate_and_convert_types(
        content, (model,), ["content"], True, True, configuration=Configuration()
    )
    return content


def _not_found(what: str) -> tuple[int, Any]:
    return 404, {"detail": f"No {what} matches the given query."}


@contextmanager
def serving(state: StandIn) -> Iterator[str]:
    """The stand-in at an address of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one piece

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            url = urlsplit(self.path)
            what = state.fault(self.command, self.path)
            if what == "lost before":
                return self._lose()
            if what.isdigit():
                return self._send(int(what), {"detail": "broken"})
            if what == "forgotten":
                return self._send(200, {})
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            status, content = state.answer(self.command, url.path, query, body, self._who())
            if what == "lost after":
                return self._lose()
            return self._send(status, content)

        def _who(self) -> bool:
            if self.headers.get("Authorization") == f"Bearer {TOKEN}":
                return True
            asks = self.command == "GET" or self.headers.get("X-CSRFTOKEN") == "csrf"
            return asks and "sessionid=session" in self.headers.get("Cookie", "")

        def _lose(self) -> None:
            self.close_connection = True
            self.connection.close()

        def _send(self, status: int, content: Content | list[str] | bytes) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            kind = "image/png" if isinstance(content, bytes) else "application/vnd.cvat+json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            if self.path == "/api/auth/login" and status == 200:
                self.send_header("Set-Cookie", "sessionid=session; Path=/")
                self.send_header("Set-Cookie", "csrftoken=csrf; Path=/")
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _handle

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
