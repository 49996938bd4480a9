"""Where nothing is translated, nothing is touched: the same bytes arrive on both sides, and no credential of a client's goes further."""

import hashlib
import json
from urllib.parse import quote

import pytest

import raw
from backends import BEDROCK_CLAUDE, BEDROCK_NOVA
from conftest import KEY
from standins.oauth import OAuth
from standins.openai import OpenAi
from standins.vertex import LOCATION
from clients import AWS_KEY, AWS_SECRET

pytestmark = pytest.mark.usefixtures("content")

GPT = "gpt-4.1-mini"
CLAUDE = "claude-sonnet-4-5-20250929"
VERTEX = f"/v1/projects/{OAuth.PROJECT}/locations/{LOCATION}"
# Spaces where nobody writes them, escapes that need not be, a number that floats cannot hold, members that no API has, in no order.
ODD = b"""{  "x_unknown" : {"b":1.000000000000000000001,"a":[ ]},\r\n "messages"\t: [{"content":"\\u0048ello \\/ \xf0\x9f\xa6\x99 "  , "role":"user"}], %s
  "x_last":1e2 }"""
TOKEN = "an-aws-session-token"
# Every way in which a client may say who it is. Names and values must be gone behind the gateway.
CREDENTIALS = {
    "Authorization": f"Bearer {KEY}",
    "X-API-Key": KEY,
    "api-key": KEY,
    "x-goog-api-key": KEY,
    "Cookie": f"session={KEY}",
    "X-TOTP-Code": "123456",
    "Proxy-Authorization": f"Basic {KEY}",
    "X-Amz-Security-Token": TOKEN,
}
SIGNED = {
    "Authorization": f"AWS4-HMAC-SHA256 Credential={AWS_KEY}/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature={'0' * 64}",
    "X-Amz-Date": "20260101T000000Z",
    "X-Amz-Content-Sha256": "0" * 64,
    "X-Amz-Security-Token": TOKEN,
}


def odd(**members):
    written = b"".join(b'"%s"  :%s ,' % (name.encode(), json.dumps(value).encode()) for name, value in members.items())
    return ODD % written


def converse(text="Hello"):
    return b'{ "messages":[ {"content":[{"text":"%s \\u00e9"}] ,"role":"user"}],\n"inferenceConfig":{"maxTokens": 100 } }' % text.encode()


def invoke(stream=False):
    # On Bedrock the body is the same for both operations.
    return b'{"anthropic_version":"bedrock-2023-05-31" , "max_tokens":100,"messages":[{"role":"user","content":"Hello"}]\n}'


def send(url, method, target, body=b"", headers=()):
    """One request as bytes; gives the reply."""
    with raw.Connection(url) as connection:
        connection.send(raw.request(method, target, headers=list(dict(headers).items()), body=body, host=connection.host))
        reply = connection.reply(method)
    assert reply is not None, "the connection closed without an answer"
    return reply


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def arrived(stand_in):
    """(hash of the body, hash of the answer) of the last request, as the other side has seen them."""
    last = stand_in.last()
    if isinstance(last, dict):
        return last["body_sha256"], last["answer_sha256"]
    return last.body_sha256, last.answer_sha256


def bedrock_path(model, operation):
    return f"/model/{quote(model, safe='')}/{operation}"


# stand-in, target, body, headers
RELAYS = {
    "chat": ("openai", "/v1/chat/completions", odd(model=f"{GPT}.lax"), {}),
    "chat-stream": ("openai", "/v1/chat/completions", odd(model=f"{GPT}.lax", stream=True, stream_options={"include_usage": True}), {}),
    "messages": ("anthropic", "/v1/messages", odd(model=f"{CLAUDE}.lax", max_tokens=100), {"anthropic-version": "2023-06-01"}),
    "messages-stream": ("anthropic", "/v1/messages", odd(model=f"{CLAUDE}.lax", max_tokens=100, stream=True), {"anthropic-version": "2026-10-21"}),
    "count-tokens": ("anthropic", "/v1/messages/count_tokens", odd(model=f"{CLAUDE}.lax"), {"anthropic-version": "2023-06-01"}),
    "embeddings": ("openai", "/v1/embeddings", b'{ "input":["a" , "\\u0062"],"model":"text-embedding-3-small" ,"dimensions":8}', {}),
    "converse": ("sandbox", bedrock_path(BEDROCK_CLAUDE, "converse"), converse(), {}),
    "converse-stream": ("sandbox", bedrock_path(BEDROCK_CLAUDE, "converse-stream"), converse(), {}),
    "converse-nova": ("sandbox", bedrock_path(BEDROCK_NOVA, "converse"), converse(), {}),
    "converse-below-bedrock": ("sandbox", "/bedrock" + bedrock_path(BEDROCK_CLAUDE, "converse"), converse(), {}),
    "invoke": ("sandbox", bedrock_path(BEDROCK_CLAUDE, "invoke"), invoke(), {}),
    "invoke-stream": ("sandbox", bedrock_path(BEDROCK_CLAUDE, "invoke-with-response-stream"), invoke(), {}),
    "native-openai": ("openai", "/providers/openai/v1/chat/completions", odd(model=f"{GPT}.lax"), {}),
    "native-openai-stream": ("openai", "/providers/openai/v1/chat/completions", odd(model=f"{GPT}.lax", stream=True), {}),
    "native-azure": ("azure", f"/providers/azure/openai/deployments/{GPT}.lax/chat/completions?api-version=2024-10-21", odd(), {}),
    "native-azure-v1": ("azure", "/providers/azure-v1/openai/v1/chat/completions", odd(model=f"{GPT}.lax"), {}),
    "native-anthropic": ("anthropic", "/providers/anthropic/v1/messages", odd(model=f"{CLAUDE}.lax", max_tokens=100), {"anthropic-version": "2023-06-01"}),
    "native-anthropic-stream": (
        "anthropic",
        "/providers/anthropic/v1/messages",
        odd(model=f"{CLAUDE}.lax", max_tokens=100, stream=True),
        {"anthropic-version": "2023-06-01"},
    ),
    "native-gemini": ("vertex", f"/providers/vertex{VERTEX}/endpoints/openapi/chat/completions", odd(model="google/gemini-2.5-flash.lax"), {}),
    "native-vertex-claude": (
        "vertex",
        f"/providers/vertex{VERTEX}/publishers/anthropic/models/claude-sonnet-4-5%4020250929.lax:streamRawPredict",
        odd(anthropic_version="vertex-2023-10-16", max_tokens=100, stream=True),
        {},
    ),
    "native-bedrock": ("sandbox", "/providers/bedrock" + bedrock_path(BEDROCK_CLAUDE, "converse"), converse(), {}),
    "native-bedrock-stream": ("sandbox", "/providers/bedrock" + bedrock_path(BEDROCK_CLAUDE, "converse-stream"), converse(), {}),
}


@pytest.mark.parametrize("relay", RELAYS)
def test_the_same_bytes_on_both_sides(adit, backends, relay):
    provider, target, body, headers = RELAYS[relay]
    stand_in = getattr(backends, provider)
    reply = send(adit, "POST", target, body, headers)
    assert reply.status == 200, reply.body
    assert arrived(stand_in) == (sha256(body), sha256(reply.body))


def test_of_a_mapped_name_only_the_name_changes(adit, backends):
    body = odd(model="m-openai.lax")
    assert send(adit, "POST", "/v1/chat/completions", body).status == 200
    assert backends.openai.last().body == body.replace(b'"m-openai.lax"', b'"gpt-4.1-mini.lax"')
    body = odd(model="m-anthropic.lax", max_tokens=100)
    assert send(adit, "POST", "/v1/messages", body).status == 200
    assert backends.anthropic.last().body == body.replace(b'"m-anthropic.lax"', b'"claude-sonnet-4-5-20250929.lax"')


@pytest.mark.parametrize(
    ("provider", "stand_in", "target"),
    [
        ("openai", "openai", "/v1/models?limit=2&after=a%2Fb%20c&empty=&flag&x=%C3%A9&x=2"),
        ("openai", "openai", "/v1/models/gpt%2D4%2E1%2dmini"),
        ("anthropic", "anthropic", "/v1/models?before_id=a%2Bb+c"),
        ("anthropic", "anthropic", "/v1/models/claude%2Dsonnet-4-5-20250929?"),
        ("azure", "azure", "/openai/v1/models?api-version=preview&a=%7Bb%7D"),
    ],
)
def test_paths_and_queries_pass_as_they_are(adit, backends, provider, stand_in, target):
    reply = send(adit, "GET", f"/providers/{provider}{target}", headers={"anthropic-version": "2023-06-01"})
    assert reply.status == 200, reply.body
    last = getattr(backends, stand_in).last()
    assert (last.method, last.target, last.body) == ("GET", target, b"")
    assert last.answer == reply.body


def test_headers_of_the_answer_pass(adit):
    reply = send(adit, "POST", "/v1/messages", odd(model=f"{CLAUDE}.lax", max_tokens=100), {"anthropic-version": "2023-06-01"})
    assert reply.headers["anthropic-ratelimit-requests-remaining"] == "41"
    assert reply.headers["x-adit-provider"] == "anthropic"
    reply = send(adit, "GET", "/providers/openai/v1/models")
    assert reply.headers["x-ratelimit-remaining-requests"] == "41"
    assert reply.headers["x-adit-provider"] == "openai"


def test_headers_of_the_request_pass(adit, backends):
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "one-2025-01-01, two-2025-01-01", "x-stainless-lang": "python"}
    send(adit, "POST", "/v1/messages", odd(model=f"{CLAUDE}.lax", max_tokens=100), headers)
    last = backends.anthropic.last()
    assert last.header("anthropic-version") == "2026-10-21"
    assert last.header("anthropic-beta") == "one-2025-01-01, two-2025-01-01"


@pytest.mark.parametrize("target", ["/providers/openai/v1/chat/completions", "/v1/chat/completions"])
def test_compressed_or_not_the_answer_is_what_was_sent(adit, backends, target):
    reply = send(adit, "POST", target, odd(model=f"{GPT}.lax.gzip"), {"accept-encoding": "gzip"})
    assert backends.openai.last().answer == reply.body
    assert (reply.headers.get("content-encoding") == "gzip") == reply.body.startswith(b"\x1f\x8b")


@pytest.mark.parametrize("credentials", [CREDENTIALS, SIGNED], ids=["keys", "signature"])
@pytest.mark.parametrize("relay", RELAYS)
def test_credentials_of_clients_stay_here(adit, backends, relay, credentials):
    provider, target, body, headers = RELAYS[relay]
    stand_in = getattr(backends, provider)
    reply = send(adit, "POST", target, body, {**headers, **credentials})
    # A stand-in takes nothing but the gateway's own key, and the sandbox verifies the gateway's signature.
    assert reply.status == 200, reply.body
    last = stand_in.last()
    sent = dict(last["headers"]) if isinstance(last, dict) else dict(last.headers)
    for secret in (KEY, TOKEN, AWS_KEY, AWS_SECRET, "123456"):
        assert not [name for name, value in sent.items() if secret in value], secret
    own = {"azure": {"api-key"}, "anthropic": {"x-api-key", "authorization"}}.get(provider, {"authorization"})
    assert not {name.lower() for name in sent} & {*map(str.lower, CREDENTIALS)} - own
    assert sent[next(name for name in sent if name.lower() == "host")] == stand_in.base_url.removeprefix("http://")


@pytest.fixture(scope="module")
def decoy():
    """Where nobody should ever get to."""
    with OpenAi() as decoy:
        yield decoy


@pytest.mark.parametrize(
    "target",
    [
        "/providers/openai/../anthropic/v1/models",
        "/providers/openai/%2e%2e/anthropic/v1/models",
        "/providers/openai/v1/../../../v1/models",
        "/providers/openai/v1/.%2E/models",
        "/providers/openai/v1\\..\\models",
        "/providers/openai/{decoy}/v1/models",
        "/providers/openai//{host}/v1/models",
        "/providers/openai/@{host}/v1/models",
        "/providers/openai:@{host}/v1/models",
        "/providers/openai@{host}/v1/models",
        "/providers/{host}/v1/models",
        "/providers/http:%2F%2F{host}/v1/models",
        "/providers/openai/v1/models%0d%0ahost:%20{host}",
        "//{host}/providers/openai/v1/nothing",
        "{decoy}/v1/nothing",
        "{decoy}/providers/nobody/v1/models",
    ],
)
@pytest.mark.parametrize("headers", [{}, {"x-forwarded-host": "{host}", "forwarded": "host={host}", "x-original-url": "{decoy}/v1/models"}])
def test_no_way_to_another_host(adit, backends, decoy, target, headers):
    names = {"decoy": decoy.base_url, "host": decoy.base_url.removeprefix("http://")}
    reply = send(adit, "GET", target.format(**names), headers={name: value.format(**names) for name, value in headers.items()})
    assert 400 <= reply.status < 500, reply
    assert decoy.requests == []
    reached = [stand_in for stand_in in backends.stand_ins if stand_in.requests]
    assert reached in ([], [backends.openai]), "only the provider that the path names"
    assert backends.sandbox.requests() == []
    # OpenAI's own 404 for a path that it does not have is fine.
    backends.forget()


def test_the_host_header_decides_nothing(adit, backends, decoy):
    with raw.Connection(adit) as connection:
        connection.send(raw.request("GET", "/providers/openai/v1/models", host=decoy.base_url.removeprefix("http://")))
        reply = connection.reply()
    assert reply.status == 200
    assert decoy.requests == [] and len(backends.openai.wait()) == 1
