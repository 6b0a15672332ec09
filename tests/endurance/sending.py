"""Clients that do not behave."""

from __future__ import annotations

import socket

__all__ = ["connect", "send_large"]


def connect(url: str) -> socket.socket:
    """A plain connection to a server."""
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def send_large(url: str, piece: int, *, most: int) -> tuple[int, bytes]:
    """Send a body in chunks until the server answers.

    Args:
        url: the server's address.
        piece: bytes of a chunk.
        most: bytes after which to give up.

    Returns:
        Bytes sent, and the beginning of the answer.
    """
    chunk = b"%x\r\n" % piece + bytes(piece) + b"\r\n"
    sent, answer = 0, b""
    with connect(url) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while sent < most:
                connection.sendall(chunk)
                sent += piece
                connection.setblocking(False)
                try:
                    answer = connection.recv(100)
                    break
                except BlockingIOError:
                    connection.settimeout(60)
        except (BrokenPipeError, ConnectionResetError):
            answer = b""
        return sent, answer
