"""Who answers a request: the path, the header, the map, a provider's own names, the fallback model, the default provider, in this order."""

import anthropic
import httpx2
import openai
import pytest

from clients import bedrock
from conftest import KEY, TIMEOUT_SECONDS
from gateway import Gateway
from standins.openai import OpenAi

pytestmark = pytest.mark.usefixtures("content")

HELLO = [{"role": "user", "content": "Hello"}]
BLOCKS = [{"role": "user", "content": [{"text": "Hello"}]}]
GPT = "gpt-4.1-mini"
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"


def chat(url, model, path="/v1/chat/completions", **headers):
    """The answer to a chat request."""
    return httpx2.post(f"{url}{path}", json={"model": model, "messages": HELLO, "max_tokens": 50}, headers=headers, timeout=TIMEOUT_SECONDS)


def provider_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.headers["x-adit-provider"]


class TestOrder:
    def test_the_path_over_the_header(self, adit, backends):
        answer = chat(adit, GPT, path="/providers/openai/v1/chat/completions", **{"x-provider": "azure"})
        assert provider_of(answer) == "openai" and len(backends.openai.wait()) == 1 and backends.azure.requests == []

    def test_the_header_over_the_map(self, adit, backends):
        assert provider_of(chat(adit, GPT)) == "openai"
        assert provider_of(chat(adit, GPT, **{"x-provider": "azure"})) == "azure"
        # A name that the map knows for that provider is still looked up there.
        assert provider_of(chat(adit, "m-azure", **{"x-provider": "azure"})) == "azure"
        assert [request.path for request in backends.azure.wait()] == [f"/openai/deployments/{GPT}/chat/completions"] * 2

    def test_the_header_in_every_dialect(self, adit):
        headers = {"x-provider": "openai"}
        client = anthropic.Anthropic(base_url=adit, api_key=KEY, max_retries=0, default_headers=headers, timeout=TIMEOUT_SECONDS)
        raw = client.messages.with_raw_response.create(model=GPT, messages=HELLO, max_tokens=50)
        assert raw.headers["x-adit-provider"] == "openai"
        client = bedrock(adit)
        client.meta.events.register("before-send.bedrock-runtime", lambda request, **_: request.headers.__setitem__("x-provider", "openai"))
        answer = client.converse(modelId=GPT, messages=BLOCKS)
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-adit-provider"] == "openai"

    def test_the_map_over_names_that_are_recognised(self, backends):
        with backends.gateway(models={HAIKU: {"openai": GPT}}) as gateway:
            assert provider_of(chat(gateway.base_url, HAIKU)) == "openai"
            assert provider_of(chat(gateway.base_url, HAIKU, **{"x-provider": "bedrock"})) == "bedrock"

    @pytest.mark.parametrize(
        ("model", "provider"),
        [
            ("anthropic.claude-3-sonnet-20240229-v1:0", "bedrock"),
            ("us.amazon.nova-pro-v1:0", "bedrock"),
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdef123456", "bedrock"),
            ("gpt-4.1-nano", "openai"),
            ("claude-opus-4-8", "anthropic"),
        ],
    )
    def test_names_that_are_recognised(self, adit, model, provider):
        assert provider_of(chat(adit, model)) == provider

    def test_the_fallback_model_over_the_default_provider(self, backends):
        with backends.gateway(routing={"fallback_model": "m-anthropic"}) as gateway:
            assert provider_of(chat(gateway.base_url, "nobody-knows-it")) == "anthropic"
            assert provider_of(chat(gateway.base_url, GPT)) == "openai"
            assert bedrock(gateway.base_url).converse(modelId="nobody-knows-it", messages=BLOCKS)["stopReason"] == "end_turn"

    def test_the_default_provider_is_the_last(self, adit, backends):
        assert chat(adit, "nobody-knows-it").json()["error"]["code"] == "model_not_found"
        with backends.gateway(routing={"default_provider": "anthropic"}) as gateway:
            # The stand-in for Anthropic has no list of its models.
            assert provider_of(chat(gateway.base_url, "nobody-knows-it")) == "anthropic"

    def test_a_provider_that_is_not_there(self, adit):
        assert chat(adit, GPT, **{"x-provider": "nobody"}).status_code in (400, 404)
        assert chat(adit, GPT, path="/providers/nobody/v1/chat/completions").status_code == 404


class TestOpenAiBaseUrlAlone:
    """An OpenAI-compatible server somewhere, one variable, and any client."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls):
        """Somebody's own server: any model, no key."""
        with OpenAi() as server:
            server.KEY = None
            yield server

    @pytest.fixture(scope="class", params=["OPENAI_BASE_URL", "OPENAI_API_BASE"])
    @classmethod
    def alone(cls, request, server, tmp_path_factory):
        environment = {request.param: f"{server.base_url}/v1"}
        with Gateway(environment, folder=tmp_path_factory.mktemp("empty")) as gateway:
            yield gateway.base_url

    def test_boto3(self, alone, server):
        client = bedrock(alone)
        answer = client.converse(modelId="qwen3-8b-q4", messages=BLOCKS)
        assert answer["output"]["message"]["content"][0]["text"] == "Echo: Hello"
        events = list(client.converse_stream(modelId="qwen3-8b-q4", messages=BLOCKS)["stream"])
        assert list(events[-1]) == ["metadata"]
        assert server.objections == [] and server.last().json()["model"] == "qwen3-8b-q4"

    def test_openai_and_anthropic(self, alone, server):
        client = openai.OpenAI(base_url=f"{alone}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS)
        assert client.chat.completions.create(model="qwen3-8b-q4", messages=HELLO).choices[0].message.content == "Echo: Hello"
        client = anthropic.Anthropic(base_url=alone, api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS)
        assert client.messages.create(model="qwen3-8b-q4", messages=HELLO, max_tokens=50).content[0].text == "Echo: Hello"
        assert server.objections == []
