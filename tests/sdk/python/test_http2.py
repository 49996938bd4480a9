"""HTTP/2 without TLS and without an upgrade (h2c, prior knowledge)."""

import concurrent.futures
import json

import httpx2
import pytest

from conftest import MODEL, TIMEOUT_SECONDS

HELLO = [{"role": "user", "content": "Hello, h2c"}]


@pytest.fixture
def http2(base_url):
    with httpx2.Client(base_url=base_url, http1=False, http2=True, timeout=TIMEOUT_SECONDS) as client:
        yield client


def test_it_is_http2(http2):
    answer = http2.get("/health")
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)


def test_chat(http2):
    answer = http2.post("/v1/chat/completions", json={"model": MODEL, "messages": HELLO})
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
    assert "Hello, h2c" in answer.json()["choices"][0]["message"]["content"]


def test_stream(http2):
    with http2.stream("POST", "/v1/chat/completions", json={"model": MODEL, "messages": HELLO, "stream": True}) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    text = "".join(choice["delta"].get("content") or "" for line in lines[:-1] for choice in json.loads(line[6:])["choices"])
    assert "Hello, h2c" in text


@pytest.mark.parametrize("length", [True, False], ids=["content-length", "without"])
def test_a_megabyte(http2, length):
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x" * 1_000_000 + " the end"}]}).encode()
    content = body if length else (body[at : at + 16_000] for at in range(0, len(body), 16_000))
    answer = http2.post("/v1/chat/completions", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert "the end" in answer.json()["choices"][0]["message"]["content"]


def test_errors(http2):
    answer = http2.post("/v1/chat/completions", content=b"{")
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"
    assert http2.get("/nowhere").status_code == 404
    answer = http2.get("/v1/chat/completions")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_body_over_the_limit(http2):
    # 26214400 is the default of limits.max_body_bytes. The answer may come before the body is through: then the rest is reset.
    try:
        answer = http2.post("/v1/chat/completions", content=b" " * 26214401)
    except (httpx2.RemoteProtocolError, httpx2.WriteError):
        return
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_streams_side_by_side_on_one_connection(http2):
    def one(number):
        answer = http2.post("/v1/chat/completions", json={"model": MODEL, "messages": [{"role": "user", "content": f"number {number}"}]})
        return f"number {number}" in answer.json()["choices"][0]["message"]["content"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(64)))
