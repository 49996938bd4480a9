"""Where the tokens for Vertex AI come from, and that they are renewed."""

import time

import httpx2
import pytest

from conftest import TIMEOUT_SECONDS
from standins.oauth import OAuth
from standins.vertex import LOCATION, Vertex

pytestmark = pytest.mark.usefixtures("content")

BODY = {"model": "m-vertex-gemini", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def own():
    """A token server and a Vertex of a test's own."""
    with OAuth() as oauth, Vertex(oauth) as vertex:
        yield oauth, vertex


def provider(vertex, **more):
    return {"vertex": {"type": "vertex", "project": OAuth.PROJECT, "location": LOCATION, "endpoint": vertex.base_url, **more}}


def ask(gateway):
    answer = httpx2.post(f"{gateway.base_url}/v1/chat/completions", json=BODY, timeout=TIMEOUT_SECONDS)
    assert answer.status_code == 200, answer.text


def test_one_token_for_many_requests(backends, own):
    oauth, vertex = own
    with backends.gateway(providers=provider(vertex, credentials=backends.service_account(oauth))) as gateway:
        for _ in range(5):
            ask(gateway)
    assert len(oauth.issued) == 1
    assert oauth.objections == vertex.objections == []


def test_a_new_token_before_the_old_one_ends(backends, own):
    oauth, vertex = own
    oauth.lifetime = 2
    with backends.gateway(providers=provider(vertex, credentials=backends.service_account(oauth))) as gateway:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while len({request.header("authorization") for request in vertex.requests}) < 2:
            assert time.monotonic() < deadline, oauth.issued
            ask(gateway)
    assert oauth.objections == vertex.objections == []


def test_the_metadata_server(backends, own, tmp_path):
    oauth, vertex = own
    # No file of this machine's user may come first.
    environment = {"GCE_METADATA_HOST": oauth.base_url.removeprefix("http://"), "HOME": str(tmp_path)}
    with backends.gateway(providers=provider(vertex), environment=environment) as gateway:
        ask(gateway)
    assert "/computeMetadata/v1/instance/service-accounts/default/token" in [request.path for request in oauth.requests]
    assert oauth.objections == vertex.objections == []


def test_no_token_is_no_secret_and_no_crash(backends, own):
    oauth, vertex = own
    file = backends.service_account(oauth)
    # Somebody else's key.
    oauth.key = type(oauth.key)()
    with backends.gateway(providers=provider(vertex, credentials=file)) as gateway:
        answer = httpx2.post(f"{gateway.base_url}/v1/chat/completions", json=BODY, timeout=TIMEOUT_SECONDS)
        assert answer.status_code in (502, 503), answer.text
        assert "127.0.0.1" not in answer.text and OAuth.EMAIL not in answer.text
    assert vertex.requests == []
