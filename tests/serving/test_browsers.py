"""What a browser gets, and which pages may use the host."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import nuclio_sdk
import pytest

from iog.serving.browsers import PAGE, prefers_html
from tests.serving.conftest import Running

Serve = Callable[..., Running]
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def echo(context: nuclio_sdk.Context, event: nuclio_sdk.Event) -> object:
    context.user_data.report = {"parse_ms": 0.25, "total_ms": 12.5, "boxes": 1}
    headers = {"X-IOG-Image": "abc"}
    return context.Response(body="{}", content_type="application/json", headers=headers)


@pytest.fixture(scope="module")
def client(serve_all: Serve) -> httpx.Client:
    return serve_all(echo).client


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        (CHROME, True),
        ("text/html", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/json, text/html;q=0.5", False),
        ("text/html;q=0", False),
        ("text/html;q=high", False),
        ("application/json;q=0.3, TEXT/HTML; level=1; q=0.4", True),
    ],
)
def test_a_browser_gets_the_page_and_a_script_the_help(
    client: httpx.Client, accept: str, page: bool
) -> None:
    answer = client.get("/", headers={"Accept": accept})

    assert prefers_html(accept) == page
    assert answer.headers["vary"] == "Accept"
    if page:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.content == (PAGE / "index.html").read_bytes()
    else:
        assert answer.json()["page"] == "GET / in a browser"


KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(PAGE.rglob("*")) if p.is_file()],
    ids=lambda path: str(path.relative_to(PAGE)),
)
def test_every_file_of_the_page_is_served_as_what_it_is(client: httpx.Client, path: Path) -> None:
    url = "/static/" + path.relative_to(PAGE).as_posix()
    answer = client.get(url)
    again = client.get(url, headers={"If-None-Match": answer.headers["etag"]})

    assert answer.status_code == 200
    assert answer.content == path.read_bytes()
    assert answer.headers["content-type"] == KINDS[path.suffix]
    assert answer.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "url",
    ["", "none.js", "examples", "%2e%2e/app.py", "..%2fapp.py", "/etc/passwd", "a" * 300],
)
def test_nothing_else_is_served(client: httpx.Client, url: str) -> None:
    answer = client.get(f"/static/{url}")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/metrics"),
        ("GET", "/nowhere"),
        ("PUT", "/"),
        ("POST", "/"),
        ("GET", "/static/index.html"),
        ("GET", "/static/none"),
    ],
)
def test_every_answer_restricts_what_a_page_may_do_with_it(
    client: httpx.Client, method: str, url: str
) -> None:
    headers = client.request(method, url).headers

    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


OTHERS: list[dict[str, str]] = [
    {"Origin": "https://example.org"},
    {"Origin": "null"},
    {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://localhost:1", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
]
OWN: list[dict[str, str]] = [
    {},
    {"Origin": "http://HOST"},
    {"Origin": "https://HOST"},
    {"Origin": "http://HOST", "Sec-Fetch-Site": "same-origin"},
    # Behind a proxy that names the host by its own name.
    {"Origin": "https://iog.example.org", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
]


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("PUT", f"/images/{'0' * 64}")])
@pytest.mark.parametrize("headers", OTHERS)
def test_a_page_of_another_origin_is_refused(
    client: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = client.request(method, path, content=b"{}", headers=headers)

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "cross_site"
    assert "IOG_CORS_ORIGINS=http" in answer.json()["error"]["hint"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("headers", OWN)
def test_its_own_page_and_scripts_are_not(client: httpx.Client, headers: dict[str, str]) -> None:
    host = f"{client.base_url.host}:{client.base_url.port}"
    own = {name: value.replace("HOST", host) for name, value in headers.items()}

    assert client.post("/", content=b"{}", headers=own).status_code == 200


def test_an_origin_that_may_reads_the_answer_and_its_headers(serve: Serve) -> None:
    client = serve(echo, origins=("https://example.org",)).client
    mine = {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"}
    asked = {
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "x-request-id",
    }

    answer = client.post("/", content=b"{}", headers=mine)
    before = client.options(f"/images/{'0' * 64}", headers=mine | asked)
    other = client.post("/", content=b"{}", headers={"Origin": "https://example.com"})

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"X-Request-ID", "X-IOG-Image", "X-IOG-Warning", "Server-Timing"} <= set(exposed)
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert before.status_code == 200
    assert "PUT" in before.headers["access-control-allow-methods"]
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers


def test_a_star_lets_all_in(serve: Serve) -> None:
    client = serve(echo, origins=("*",)).client

    answer = client.post("/", content=b"{}", headers={"Origin": "null"})

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"


def test_an_answer_tells_the_milliseconds_of_its_stages(client: httpx.Client) -> None:
    timing = client.post("/", content=b"{}").headers["server-timing"].split(", ")

    names = [entry.split(";dur=")[0] for entry in timing]
    assert names == ["parse", "total", "host"]
    assert timing[:2] == ["parse;dur=0.25", "total;dur=12.5"]
    assert float(timing[2].split("=")[1]) > 0


def test_while_the_model_loads_the_page_is_there_and_health_says_so(serve: Serve) -> None:
    release = threading.Event()
    running = serve(echo, workers=2, loads=release, worker_wait=0.05)
    loading = running.client.get("/health")
    page = running.client.get("/", headers={"Accept": CHROME})
    early = running.client.post("/", content=b"{}")
    release.set()
    assert running.ready.wait(120)
    loaded = running.client.get("/health")

    assert (loading.status_code, loading.json()["status"]) == (503, "loading")
    assert (loading.json()["workers"], loading.json()["ready"]) == (2, 0)
    assert page.status_code == 200
    assert early.status_code == 503
    assert early.json()["error"]["code"] == "loading"
    assert early.headers["retry-after"] == "1"
    assert (loaded.status_code, loaded.json()["status"]) == (200, "ok")
    assert (loaded.json()["workers"], loaded.json()["ready"]) == (2, 2)
    assert running.client.post("/", content=b"{}").status_code == 200
