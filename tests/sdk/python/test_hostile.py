"""Input that no SDK sends. Each case is answered with a clean error in the OpenAI shape, or the connection is closed; and the daemon serves on
(the `still_serving` fixture asks after every test)."""

import gzip
import json
import re
import socket
import struct

import pytest

from conftest import MODEL
from raw import Connection, chunked, request

LIMIT_BYTES = 26214400  # limits.max_body_bytes, the default
CHAT = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}).encode()
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def connection(base_url):
    with Connection(base_url) as connection:
        yield connection


def post(connection, body, headers=(), target="/v1/chat/completions"):
    """Posts a body with its content-length and returns the one answer."""
    connection.send(request(body=body, headers=headers, target=target))
    reply = connection.reply()
    assert reply is not None, "the connection was closed without an answer"
    return reply


def chat(**members):
    """A chat request's body with members replaced; None leaves one out."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], **members}
    return json.dumps({name: value for name, value in body.items() if value is not None}).encode()


def refused(exchange, statuses):
    """Nothing was answered before the close, or one clean error of one of these statuses."""
    if not exchange.replies:
        assert exchange.closed and not exchange.rest, exchange
        return
    assert len(exchange.replies) == 1, exchange
    reply = exchange.replies[0]
    assert reply.status in statuses, (reply.status, reply.body[:500])
    reply.error()


class TestBodies:
    """What is wrong stands in the body: always an answer, and the connection lives on."""

    @pytest.mark.parametrize(
        ("body", "position"),
        [
            (b"{", None),
            (b'{"model":"claude-3-haiku",}', 25),
            (b'{"model": claude}', 10),
            (b'{"model":"claude-3-haiku","messages":[{"role":"user","content":"Hello"}]', None),
            (CHAT + b"x", len(CHAT)),
            (CHAT[:-1] + b',"stop":"\x01"}', None),
            (b'{"model":"claude-3-haiku","messages":[{"role":"user","content":"\\ud800x"', None),
            (b"POST", 0),
        ],
    )
    def test_malformed_json_names_the_byte(self, connection, body, position):
        reply = post(connection, body)
        assert reply.status == 400
        error = reply.error()
        assert error["type"] == "invalid_request_error"
        found = re.search(r"\bbyte (\d+)", error["message"])
        assert found, error["message"]
        if position is not None:
            assert abs(int(found[1]) - position) <= 1, error["message"]
        assert int(found[1]) <= len(body)

    @pytest.mark.parametrize(
        "body", [b'{"model":"claude-3-haiku","messages":[{"role":"user","content":"\xff\xfe"}]}', b"\x80", CHAT.replace(b"Hello", b"\xc3\x28")]
    )
    def test_a_body_that_is_no_utf8(self, connection, body):
        reply = post(connection, body)
        assert reply.status == 400
        assert reply.error()["type"] == "invalid_request_error"

    @pytest.mark.parametrize(
        "body", [b"[]", b'"text"', b"null", b"5", b"[" * 100_000, b'{"a":' * 100_000, b'{"messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}"]
    )
    def test_a_body_that_is_no_request(self, connection, body):
        reply = post(connection, body)
        assert reply.status == 400
        reply.error()

    def test_deep_nesting_in_a_member_that_is_carried_along(self, connection):
        deep = b"[" * 50_000 + b"]" * 50_000
        reply = post(connection, CHAT[:-1] + b',"anything":' + deep + b"}")
        assert reply.status == 400
        reply.error()

    def test_no_body(self, connection):
        connection.send(request(headers=[("Content-Length", "0")]))
        reply = connection.reply()
        assert reply.status == 400
        reply.error()

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            (chat(model=None), "model"),
            (chat(messages=None), "messages"),
            (chat(model=5), "model"),
            (chat(model=""), "model"),
            (chat(messages=[]), "messages"),
            (chat(messages="Hello"), "messages"),
            (chat(messages=["Hello"]), "messages[0]"),
            (chat(messages=[{"content": "Hello"}]), "messages[0].role"),
            (chat(messages=[{"role": "wizard", "content": "Hello"}]), "messages[0].role"),
            (chat(messages=[{"role": "user", "content": 5}]), "messages[0].content"),
            (chat(messages=[{"role": "user", "content": [{"type": "hologram"}]}]), "messages[0].content[0].type"),
            (chat(messages=[{"role": "user", "content": [{"type": "text", "text": 5}]}]), "messages[0].content[0].text"),
            (chat(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
            (chat(messages=[{"role": "user", "content": "Hello"}, {"role": "tool", "content": "x"}]), "messages[1].tool_call_id"),
            (chat(stream="yes"), "stream"),
            (chat(temperature="hot"), "temperature"),
            (chat(max_tokens="many"), "max_tokens"),
            (chat(max_tokens=-1), "max_tokens"),
            (chat(max_completion_tokens=0.5), "max_completion_tokens"),
            (chat(tools={}), "tools"),
            (chat(tools=[{"type": "function"}]), "tools[0].function"),
            (chat(tools=[{"type": "function", "function": {}}]), "tools[0].function.name"),
            (chat(tool_choice=5), "tool_choice"),
            (chat(stop=5), "stop"),
            (chat(response_format="json"), "response_format"),
            (chat(n=129), "n"),
            (chat(logprobs=True), "logprobs"),
        ],
    )
    def test_a_missing_or_wrong_member_is_named(self, connection, body, param):
        reply = post(connection, body)
        assert reply.status == 400
        error = reply.error()
        assert error["param"] == param, error
        assert error["type"] == "invalid_request_error"

    @pytest.mark.parametrize(
        "url",
        [
            "data:image/png;base64,????",
            "data:image/png;base64,",
            "data:;base64",
            "ftp://example.com/a.png",
            "https://169.254.169.254/latest",
            "file:///etc/passwd",
            "x" * 10_000,
        ],
    )
    def test_an_image_that_is_none(self, connection, url):
        reply = post(connection, chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]))
        assert reply.status == 400
        error = reply.error()
        assert error["param"].startswith("messages[0].content[0]"), error
        assert "etc/passwd" not in error["message"] and "169.254" not in error["message"]

    def test_an_unknown_model(self, connection):
        reply = post(connection, chat(model="no-such-model"))
        assert reply.status == 404
        error = reply.error()
        assert (error["code"], error["param"]) == ("model_not_found", "model")

    @pytest.mark.parametrize(
        "model", ["\r\nx-injected: 1", "../../../etc/passwd", "a" * 100_000, "\u0000", "claude-3-haiku ", "🦙", "anthropic.claude\r\nHost: evil"]
    )
    def test_a_model_that_would_break_a_header_or_a_path(self, connection, model):
        reply = post(connection, chat(model=model))
        assert reply.status in (400, 404)
        reply.error()
        assert "x-injected" not in reply.headers
        assert all(len(value) < 4096 for value in reply.headers.values())

    def test_a_compressed_body(self, connection):
        reply = post(connection, gzip.compress(CHAT), headers=[("Content-Encoding", "gzip")])
        assert reply.status in (400, 415)
        reply.error()

    def test_many_errors_on_one_connection(self, connection):
        for _ in range(20):
            assert post(connection, b"{").status == 400
        assert post(connection, CHAT).status == 200


class TestPaths:
    @pytest.mark.parametrize(
        ("method", "target", "allow"),
        [
            ("GET", "/v1/chat/completions", "POST"),
            ("PUT", "/v1/chat/completions", "POST"),
            ("DELETE", "/v1/models", "GET"),
            ("POST", "/v1/models/claude-3-haiku", "GET"),
            ("POST", "/health", "GET"),
        ],
    )
    def test_a_wrong_method_is_told_the_right_one(self, connection, method, target, allow):
        connection.send(request(method=method, target=target, headers=[("Content-Length", "0")]))
        reply = connection.reply()
        assert reply.status == 405
        assert allow in [name.strip() for name in reply.headers["allow"].split(",")]
        reply.error()

    @pytest.mark.parametrize(
        "target",
        [
            "/",
            "/v1",
            "/v1/",
            "/v2/chat/completions",
            "/v1/chat",
            "/v1/chat/completions/x",
            "/favicon.ico",
            "/v1/chat/completions%00",
            "/%ff%fe",
            "/..%2f..%2fetc%2fpasswd",
        ],
    )
    def test_an_unknown_path(self, connection, target):
        connection.send(request(method="GET", target=target))
        reply = connection.reply()
        assert reply.status == 404
        reply.error()

    @pytest.mark.parametrize("target", ["/v1/models/no-such-model", "/v1/models/", "/v1/models/%zz", "/v1/models/a%2Fb%3Ac"])
    def test_an_unknown_model(self, connection, target):
        connection.send(request(method="GET", target=target))
        reply = connection.reply()
        assert reply.status == 404
        reply.error()

    def test_a_query_does_not_matter(self, connection):
        assert post(connection, CHAT, target="/v1/chat/completions?api-version=1").status == 200

    def test_head(self, connection):
        connection.send(request(method="HEAD", target="/v1/chat/completions"))
        reply = connection.reply("HEAD")
        assert reply.status == 405

    def test_options(self, connection):
        connection.send(request(method="OPTIONS", target="*"))
        reply = connection.reply()
        assert reply is None or reply.status in (400, 404, 405)

    @pytest.mark.parametrize("value", ["a b", "<script>", "x" * 10_000, "\xe9"])
    def test_an_insane_request_id_is_replaced(self, connection, value):
        connection.send(request(method="GET", target="/v1/models", headers=[("X-Request-Id", value)]))
        reply = connection.reply()
        assert reply.status == 200
        assert reply.headers["x-request-id"] not in ("", value)

    def test_a_sane_request_id_is_kept(self, connection):
        connection.send(request(method="GET", target="/v1/models", headers=[("X-Request-Id", "check-123_A.b")]))
        assert connection.reply().headers["x-request-id"] == "check-123_A.b"


class TestSizes:
    def test_a_body_over_the_limit_with_content_length(self, connection):
        connection.send(request(headers=[("Content-Length", str(LIMIT_BYTES + 1)), ("Content-Type", "application/json")]))
        block = b" " * 65536
        for _ in range((LIMIT_BYTES + 1) // len(block)):
            if not connection.send(block):
                break
        self.too_large(connection)

    def test_a_body_over_the_limit_in_chunks(self, connection):
        block = b" " * 65536
        for piece in chunked(block for _ in range(LIMIT_BYTES // len(block) + 1)):
            if not connection.send(piece):
                break
        self.too_large(connection)

    def test_a_body_over_the_limit_that_asks_first(self, connection):
        connection.send(request(headers=[("Content-Length", str(LIMIT_BYTES + 1)), ("Expect", "100-continue")]))
        self.too_large(connection)

    def test_a_content_length_beyond_all_bounds(self, base_url):
        for length in ("18446744073709551616", "99999999999999999999999999", "9223372036854775807"):
            with Connection(base_url) as connection:
                connection.send(request(headers=[("Content-Length", length)]))
                connection.end()
                reply = connection.reply()
                assert reply is None or reply.status in (400, 413)
                if reply is not None:
                    reply.error()

    def too_large(self, connection):
        reply = connection.reply()
        assert reply is not None, "closed without an answer"
        assert reply.status == 413
        error = reply.error()
        assert (error["type"], error["code"]) == ("invalid_request_error", "request_too_large")

    def test_a_long_header(self, connection):
        refused(connection.exchange(request(method="GET", target="/health", headers=[("X-Long", "x" * 2_000_000)])), (400, 431))

    def test_many_headers(self, connection):
        exchange = connection.exchange(request(method="GET", target="/health", headers=[(f"X-{number}", "x") for number in range(5000)]))
        refused(exchange, (400, 431))

    def test_a_long_target(self, connection):
        refused(connection.exchange(request(method="GET", target="/" + "x" * 2_000_000)), (400, 404, 414, 431))


class TestFraming:
    """Where two readers could disagree on where a request ends, nothing may be read twice."""

    SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def test_content_length_and_chunked_together(self, base_url):
        for first in (("Content-Length", "6"), ("Transfer-Encoding", "chunked")):
            second = ("Transfer-Encoding", "chunked") if first[0] == "Content-Length" else ("Content-Length", "6")
            with Connection(base_url) as connection:
                exchange = connection.exchange(request(headers=[first, second]) + b"0\r\n\r\n" + self.SMUGGLED)
            assert exchange.closed
            # Refused, or read as chunked with the connection closed after it: the second request is not answered either way.
            assert len(exchange.replies) <= 1, exchange
            for reply in exchange.replies:
                assert reply.status == 400
                reply.error()

    @pytest.mark.parametrize("lengths", [("5", "6"), (str(len(CHAT)), "0"), ("5, 6",), ("+5",), ("-1",), ("0x5",), ("5 5",), ("",), ("5;",), ("\xb2",)])
    def test_content_lengths_that_are_none(self, connection, lengths):
        data = request(headers=[("Content-Length", length) for length in lengths])
        exchange = connection.exchange(data + CHAT + self.SMUGGLED)
        assert len(exchange.replies) <= 1, exchange
        refused(exchange, (400,))

    @pytest.mark.parametrize("coding", ["chunked, chunked", "gzip", "identity", "xchunked", "chunked;q=1", "\x0bchunked", "gzip, chunked"])
    def test_transfer_codings_that_nobody_reads(self, connection, coding):
        data = request(headers=[("Transfer-Encoding", coding)]) + b"0\r\n\r\n" + self.SMUGGLED
        exchange = connection.exchange(data)
        assert len(exchange.replies) <= 1, exchange
        refused(exchange, (400, 411, 501))

    @pytest.mark.parametrize(
        "chunk", [b"zz\r\n", b"-1\r\n", b"FFFFFFFFFFFFFFFFFFFF\r\n", b"5\r\nabcdefgh\r\n", b"5\n", b"1" * 100_000, b"5;" + b"x" * 100_000 + b"\r\n"]
    )
    def test_broken_chunks(self, connection, chunk):
        data = request(headers=[("Transfer-Encoding", "chunked")]) + chunk + b"0\r\n\r\n"
        refused(connection.exchange(data), (400, 413))

    @pytest.mark.parametrize("line", [b"X Y: 1", b"X-A : 1", b": 1", b"X-A\x00: 1", b"X-A: a\x00b", b" folded", b"no-colon", b"X-A: a\rb"])
    def test_broken_headers(self, connection, line):
        exchange = connection.exchange(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + line + b"\r\n\r\n")
        refused(exchange, (400,))

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"GET",
            b"GET /health",
            b"GET  /health HTTP/1.1",
            b"GET /health HTTP/9.9",
            b"GET /health HTTP/1.1 x",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"G\x00T /health HTTP/1.1",
            b"GET \xff HTTP/1.1",
        ],
    )
    def test_broken_request_lines(self, connection, line):
        refused(connection.exchange(line + b"\r\nHost: localhost\r\n\r\n"), (400, 404, 405, 505))

    def test_a_body_that_is_cut_short(self, connection):
        refused(connection.exchange(request(headers=[("Content-Length", "1000")]) + CHAT), (400,))

    def test_chunks_that_are_cut_short(self, connection):
        data = request(headers=[("Transfer-Encoding", "chunked")]) + b"40\r\n{"
        refused(connection.exchange(data), (400,))

    def test_a_head_that_is_cut_short(self, connection):
        refused(connection.exchange(b"POST /v1/chat/completions HTTP/1.1\r\nHost: loc"), (400,))

    def test_garbage_behind_a_request(self, connection):
        exchange = connection.exchange(HEALTH + b"\x00\x01garbage\r\n\r\n")
        assert exchange.replies and exchange.replies[0].status == 200
        assert all(reply.status == 400 for reply in exchange.replies[1:]), exchange

    def test_requests_behind_each_other(self, connection):
        connection.send(HEALTH + request(body=CHAT) + HEALTH)
        assert [connection.reply().status for _ in range(3)] == [200, 200, 200]

    def test_a_connection_that_is_reset(self, base_url):
        for data in (b"", b"POST /v1", request(headers=[("Content-Length", "100000")]) + b"{", request(body=chat(stream=True))):
            with Connection(base_url) as connection:
                connection.send(data)
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class TestHttp:
    """Unusual, but right: it works."""

    def test_http_1_0(self, connection):
        connection.send(request(version="HTTP/1.0", body=CHAT))
        reply = connection.reply()
        assert reply.status == 200
        assert "transfer-encoding" not in reply.headers
        assert reply.json()["object"] == "chat.completion"

    def test_http_1_0_stream(self, connection):
        connection.send(request(version="HTTP/1.0", body=chat(stream=True)))
        reply = connection.reply()
        assert reply.status == 200
        assert "transfer-encoding" not in reply.headers
        assert reply.body.rstrip().endswith(b"data: [DONE]")

    @pytest.mark.parametrize("method", ["post", "Post", "PoSt", "PRI", "X" * 1000])
    def test_methods_are_written_in_capitals(self, connection, method):
        refused(connection.exchange(request(method=method, body=CHAT)), (400, 405, 501))

    def test_an_absolute_target(self, connection):
        connection.send(request(method="GET", target=f"http://{connection.host}/health", host=connection.host))
        reply = connection.reply()
        assert (reply.status, reply.json()["status"]) == (200, "healthy")

    def test_connect_is_no_tunnel(self, connection):
        refused(connection.exchange(request(method="CONNECT", target="169.254.169.254:80")), (400, 404, 405, 501))

    def test_expect_100_continue(self, connection):
        connection.send(request(headers=[("Expect", "100-continue"), ("Content-Type", "application/json"), ("Content-Length", str(len(CHAT)))]))
        assert connection.reply().status == 100
        connection.send(CHAT)
        assert connection.reply().status == 200

    def test_a_body_byte_by_byte(self, connection):
        data = request(body=CHAT)
        for byte in data:
            assert connection.send(bytes([byte]))
        assert connection.reply().status == 200

    def test_a_chunk_a_byte(self, connection):
        for piece in chunked(bytes([byte]) for byte in CHAT):
            assert connection.send(piece)
        assert connection.reply().status == 200

    def test_a_client_that_closes_its_half(self, connection):
        exchange = connection.exchange(request(body=CHAT))
        # Half a close is a close to many a proxy: the answer, or nothing, but no error page.
        assert [reply.status for reply in exchange.replies] in ([200], [])

    def test_an_upgrade_is_not_taken(self, connection):
        connection.send(request(method="GET", target="/health", headers=[("Connection", "Upgrade"), ("Upgrade", "websocket")]))
        assert connection.reply().status == 200

    def test_hop_by_hop_headers_and_credentials_stay_here(self, connection):
        reply = post(
            connection,
            CHAT,
            headers=[("Connection", "x-amz-date"), ("X-Amz-Date", "x"), ("Authorization", "Bearer sk-obviously-not-a-key"), ("X-Amz-Security-Token", "x")],
        )
        assert reply.status == 200
