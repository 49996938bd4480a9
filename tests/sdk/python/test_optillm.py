"""A real OptiLLM server beside the gateway, whose upstream is the gateway again, and the Bedrock sandbox behind both. `make optillm`."""

import json
import socket
import subprocess
import time

import anthropic
import httpx2
import openai
import pytest

from conftest import TIMEOUT_SECONDS
from gateway import LOGS, ROOT, Gateway, Sandbox, clean_environment

# It imports much before it listens.
START_SECONDS = 120
OPTILLM = ROOT / ".venv-optillm" / "bin" / "optillm"
KEY = "an-obviously-fake-key-of-alice"
MODEL = "claude-3-sonnet"
QUESTION = "How many legs have three spiders?"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]


@pytest.fixture(autouse=True)
def still_serving():
    """The gateway here has no stand-ins behind it."""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("optillm")


def alive(url):
    try:
        return httpx2.get(f"{url}/health", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.fixture(scope="module")
def adit(sandbox, folder):
    """The address of a gateway whose approaches a real OptiLLM server makes."""
    if not OPTILLM.exists():
        pytest.skip("no OptiLLM: tests/setup.sh optillm")
    bedrock = {
        "type": "bedrock",
        "region": "us-east-1",
        "endpoint": sandbox.base_url,
        "access_key_id": Sandbox.ACCESS_KEY_ID,
        "secret_access_key": Sandbox.SECRET_ACCESS_KEY,
    }
    models = {"providers": {"bedrock": bedrock}, "models": {MODEL: {"bedrock": "anthropic.claude-3-sonnet-20240229-v1:0"}}}
    limits = {"default": {"concurrent_requests": 1}}
    (folder / "models.yaml").write_text(json.dumps(models))
    (folder / "adit.yaml").write_text(json.dumps({"models": "models.yaml", "audit": {"path": "audit.jsonl"}, "limits": limits, "auth": {"enabled": True}}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {"ENABLE_OPTILLM": "true", "OPTILLM_BASE_URL": f"{url}/v1", "BEDROCK_API_KEY_ALICE": KEY}
    with Gateway(environment, config=folder / "adit.yaml") as gateway:
        log = LOGS / "optillm.log"
        # Its own key is for calls without a token: there are none.
        environment = {**clean_environment(), "OPENAI_API_KEY": "sk-not-a-key-of-anybody", "HOME": str(folder)}
        command = [OPTILLM, "--base-url", f"{gateway.base_url}/v1", "--host", "127.0.0.1", "--port", str(port)]
        with open(log, "wb") as out:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not alive(url):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.2)
            yield gateway.base_url
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def client(adit, sandbox):
    sandbox.forget()
    with openai.OpenAI(base_url=f"{adit}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS) as client:
        yield client


def lines(folder, count):
    """The newest lines of the audit log, once so many have come since the last call."""
    path = folder / "audit.jsonl"
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        fresh = found[lines.seen :]
        if len(fresh) >= count:
            lines.seen = len(found)
            return fresh
        assert time.monotonic() < deadline, f"{len(fresh)} of {count} lines"
        time.sleep(0.02)


lines.seen = 0


# The calls that OptiLLM makes, and those that a model gets which answers one at a time: `n` is 3 in one of them.
@pytest.mark.parametrize(("approach", "calls", "asked"), [("re2", 1, 1), ("bon", 4, 6), ("moa", 3, 5)])
def test_an_approach_is_made_of_calls_of_the_first_caller(client, sandbox, folder, approach, calls, asked):
    answer = client.chat.completions.with_raw_response.create(model=f"{approach}-{MODEL}", messages=MESSAGES)
    completion = answer.parse()
    assert completion.choices[0].message.content and completion.choices[0].finish_reason == "stop"
    assert (answer.headers["x-adit-provider"], answer.headers["x-adit-model"], answer.headers["x-adit-calls"]) == ("optillm", MODEL, str(calls))
    requests = sandbox.requests()
    assert len(requests) == asked, [request["path"] for request in requests]
    assert any(json.dumps(request).count(QUESTION) >= (2 if approach == "re2" else 1) for request in requests)
    fresh = lines(folder, calls + 1)
    outer = [line for line in fresh if line["parent"] is None]
    inner = [line for line in fresh if line["parent"] is not None]
    assert [(line["user"], line["proof"], line["approach"], line["calls"], line["tokens"]) for line in outer] == [("alice", "api_key", approach, calls, None)]
    assert len(inner) == calls and {(line["user"], line["proof"], line["parent"]) for line in inner} == {("alice", "call", outer[0]["request_id"])}
    total = sum(line["tokens"]["input"] for line in inner), sum(line["tokens"]["output"] for line in inner)
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == total


def test_a_stream_and_an_approach_in_the_body(client, folder):
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, extra_body={"optillm_approach": "re2|moa"})
    chunks = list(stream)
    texts = {0: "", 1: ""}
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.delta.content or ""
    assert all(texts.values()), chunks
    assert {line["approach"] for line in lines(folder, 5)} == {"re2|moa", None}


def test_other_clients(adit, folder):
    with anthropic.Anthropic(base_url=adit, api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS) as client:
        message = client.messages.create(model=f"cot_reflection-{MODEL}", messages=MESSAGES[1:], max_tokens=100)
    assert message.content[0].text and message.usage.output_tokens > 0
    lines(folder, 2)


def test_the_server_s_refusal(client):
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, extra_body={"optillm_approach": "re2&nobody-knows-this"})
    assert caught.value.status_code >= 400 and caught.value.body["message"]
