"""Just enough of ClickHouse's native protocol to put a question as any user and see the bytes that come back."""

import socket

_REVISION = 54_000
"""Of a client that is old enough to be asked for little."""


def ask_native(port: int, user: str, password: str, sql: str) -> bytes:
    """All that the server says: its greeting, then data, and an exception or the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        hello = _number(0) + _text("test") + _number(1) + _number(1) + _number(_REVISION)
        connection.sendall(hello + _text("") + _text(user) + _text(password))
        said = _until_told(connection, b"")
        if said[:1] != b"\0":
            return said
        empty_table = _number(2) + _text("") + _number(1) + b"\0" + _number(2) + b"\xff\xff\xff\xff" + b"\0" * 3
        query = _number(1) + _text("") + _text("") + _number(2) + _number(0) + _text(sql)
        connection.sendall(query + empty_table)
        return said + _until_told(connection, b"\x05")


def _until_told(connection: socket.socket, end: bytes) -> bytes:
    """Read until the connection closes, an exception is complete, or what came ends as asked; "" takes what comes."""
    said = b""
    while part := connection.recv(65_536):
        said += part
        if said.endswith(end) or (b"DB::" in said and said.endswith(b"\0")):
            break
    return said


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _text(text: str) -> bytes:
    return _number(len(text.encode())) + text.encode()
