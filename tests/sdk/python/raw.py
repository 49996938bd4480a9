"""HTTP/1.1 as bytes on a socket: for what no client library would send."""

import json
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 20


@dataclass
class Reply:
    """One answer. `headers` has lower-case names; repeated ones are joined with a comma."""

    status: int
    version: str
    headers: dict
    body: bytes = b""

    def json(self):
        return json.loads(self.body)

    def error(self):
        """The error object, after a look at its form: the OpenAI shape with all four members."""
        assert self.headers.get("content-type", "").startswith("application/json"), (self.status, self.headers, self.body[:500])
        error = self.json()["error"]
        assert sorted(error) == ["code", "message", "param", "type"], error
        assert isinstance(error["message"], str) and error["message"], error
        assert isinstance(error["type"], str) and error["type"], error
        return error


@dataclass
class Exchange:
    """What came back on one connection."""

    replies: list = field(default_factory=list)
    closed: bool = False  # the other side closed the connection, or reset it
    rest: bytes = b""  # bytes that are no whole answer


class Connection:
    def __init__(self, base_url):
        parts = urlsplit(base_url)
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname, parts.port), TIMEOUT_SECONDS)
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.buffer = b""
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Sends what the other side takes; it may answer and close before it has read everything."""
        try:
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def end(self):
        """No more will be sent."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def fill(self):
        """Reads more. False: the connection is closed. A silent server is a TimeoutError, and a failed test."""
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self.closed = self.closed or not data
        self.buffer += data
        return bool(data)

    def until(self, mark):
        while mark not in self.buffer:
            if not self.fill():
                return None
        piece, self.buffer = self.buffer.split(mark, 1)
        return piece

    def exactly(self, length):
        while len(self.buffer) < length:
            if not self.fill():
                return None
        piece, self.buffer = self.buffer[:length], self.buffer[length:]
        return piece

    def reply(self, method="GET"):
        """The next answer, or None if the connection closes instead."""
        head = self.until(b"\r\n\r\n")
        if head is None:
            return None
        lines = head.decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[:2]
        headers = {}
        for line in lines[1:]:
            name, value = line.split(":", 1)
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        reply = Reply(int(status), version, headers)
        if method == "HEAD" or reply.status in (204, 304) or reply.status < 200:
            return reply
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                size = int(self.until(b"\r\n").split(b";")[0], 16)
                chunk = self.exactly(size + 2)
                reply.body += chunk[:-2]
                if size == 0:
                    return reply
        if "content-length" in headers:
            reply.body = self.exactly(int(headers["content-length"]))
            return reply
        while self.fill():
            pass
        reply.body, self.buffer = self.buffer, b""
        return reply

    def exchange(self, data, end=True):
        """Sends, and reads every answer until the connection closes (`end`: this side closes first)."""
        self.send(data)
        if end:
            self.end()
        result = Exchange()
        while True:
            reply = self.reply()
            if reply is None:
                break
            result.replies.append(reply)
        result.closed, result.rest = self.closed, self.buffer
        return result


def request(method="POST", target="/v1/chat/completions", headers=(), body=b"", version="HTTP/1.1", host="localhost", length=True):
    """A request as bytes. `headers`: (name, value) pairs, written as they are."""
    lines = [f"{method} {target} {version}", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body and length:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(pieces, host="localhost", target="/v1/chat/completions"):
    """A chunked POST as an iterable of byte strings."""
    yield request(target=target, headers=[("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")], host=host)
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
