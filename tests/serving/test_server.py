from __future__ import annotations

import socket

import pytest

from iog.serving.server import address, bind


def test_a_free_port_is_taken_and_named() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]

        assert port > 0
        assert address(listener) == f"http://127.0.0.1:{port}"


def test_an_ipv6_address_is_written_in_brackets() -> None:
    try:
        listener = bind("::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert address(listener).startswith("http://[::1]:")


def test_a_port_in_use_is_one_sentence() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="in use") as caught:
            bind("127.0.0.1", port)

    assert caught.value.strerror == (
        f"Port {port} of 127.0.0.1 is in use by another program; choose another one, such as "
        f"`make run PORT={port + 10}` or `iog serve --port {port + 10}`."
    )


def test_an_address_that_is_not_ours_is_one_sentence() -> None:
    with pytest.raises(OSError, match="no address of this machine"):
        bind("203.0.113.7", 8080)


def test_a_name_that_does_not_resolve_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match=r"nowhere\.invalid is no address of this machine"):
        bind("nowhere.invalid", 8080)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied"), "needs more rights"),
        (OSError(12, "Cannot allocate memory"), "Cannot allocate memory"),
    ],
)
def test_other_reasons_are_told_too(
    monkeypatch: pytest.MonkeyPatch, error: OSError, words: str
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(OSError, match=words):
        bind("127.0.0.1", 80)


def test_answers_do_not_wait_for_the_client_to_confirm_their_headers() -> None:
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            with connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
