"""A real peer: the LiteLLM proxy as the OpenAI-compatible server behind the gateway. Its model is a mock; nothing leaves the machine."""

import json
import socket
import subprocess
import time

import anthropic
import httpx2
import openai
import pytest

from clients import bedrock, converse_answer
from conftest import KEY, TIMEOUT_SECONDS
from gateway import LOGS, ROOT, Gateway, clean_environment

# It takes its time: hundreds of modules.
START_SECONDS = 120
LITELLM = ROOT / ".venv-litellm" / "bin" / "litellm"
OWN_KEY = "sk-obviously-made-for-tests"
TEXT = "Hello from LiteLLM, in several words."
HELLO = [{"role": "user", "content": "Hello"}]
BLOCKS = [{"role": "user", "content": [{"text": "Hello"}]}]


@pytest.fixture(autouse=True)
def still_serving():
    """The gateway here has no stand-ins behind it."""


@pytest.fixture(scope="module")
def litellm(tmp_path_factory):
    """The address of a LiteLLM proxy with one model, `mocked`."""
    if not LITELLM.exists():
        pytest.skip("no LiteLLM: tests/setup.sh litellm")
    folder = tmp_path_factory.mktemp("litellm")
    config = folder / "config.yaml"
    mocked = {"model": "openai/gpt-4o-mini", "api_key": "none", "mock_response": TEXT}
    config.write_text(json.dumps({"model_list": [{"model_name": "mocked", "litellm_params": mocked}]}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Prices are read from the package, and whatever else it would ask the network for ends at a port where nobody listens.
    offline = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1", "HOME": str(folder)}
    environment = {**clean_environment(), **offline, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": OWN_KEY}
    log = LOGS / "litellm.log"
    LOGS.mkdir(parents=True, exist_ok=True)
    command = [LITELLM, "--config", config, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    with open(log, "wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while not alive(url):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield url
    finally:
        process.kill()
        process.wait()


def alive(url):
    try:
        return httpx2.get(f"{url}/health/liveliness", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


@pytest.fixture(scope="module")
def adit(litellm, tmp_path_factory):
    """A gateway that knows nothing but OPENAI_BASE_URL and the key."""
    with Gateway({"OPENAI_BASE_URL": f"{litellm}/v1", "OPENAI_API_KEY": OWN_KEY}, folder=tmp_path_factory.mktemp("empty")) as gateway:
        yield gateway.base_url


def test_the_peer_itself(litellm):
    client = openai.OpenAI(base_url=f"{litellm}/v1", api_key=OWN_KEY, max_retries=0, timeout=TIMEOUT_SECONDS)
    assert client.chat.completions.create(model="mocked", messages=HELLO).choices[0].message.content == TEXT


def test_converse(adit):
    answer = bedrock(adit).converse(modelId="mocked", messages=BLOCKS)
    assert answer["output"]["message"]["content"] == [{"text": TEXT}]
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"]["totalTokens"] == answer["usage"]["inputTokens"] + answer["usage"]["outputTokens"] > 0


def test_converse_stream(adit):
    events = list(bedrock(adit).converse_stream(modelId="mocked", messages=BLOCKS)["stream"])
    answer = converse_answer(events)
    assert answer["output"]["message"]["content"] == [{"text": TEXT}]
    assert answer["stopReason"] == "end_turn"
    # LiteLLM sends usage in a chunk that has a choice, where OpenAI's has none.
    assert answer["usage"]["inputTokens"] > 0 and answer["usage"]["outputTokens"] > 0
    assert len([event for event in events if "contentBlockDelta" in event]) > 3


def test_messages(adit):
    client = anthropic.Anthropic(base_url=adit, api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS)
    with client.messages.stream(model="mocked", messages=HELLO, max_tokens=50) as stream:
        final = stream.get_final_message()
    assert (final.content[0].text, final.stop_reason) == (TEXT, "end_turn") and final.usage.output_tokens > 0


def test_chat(adit):
    client = openai.OpenAI(base_url=f"{adit}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS)
    assert client.chat.completions.create(model="mocked", messages=HELLO).choices[0].message.content == TEXT
    chunks = list(client.chat.completions.create(model="mocked", messages=HELLO, stream=True))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == TEXT


def test_an_error_of_the_peer_s(adit):
    client = bedrock(adit)
    with pytest.raises(client.exceptions.ClientError) as caught:
        client.converse(modelId="not-in-its-list", messages=BLOCKS)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404)
