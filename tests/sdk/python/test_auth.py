"""The vendors' SDKs with a key of the gateway's, and with the token of a session."""

import anthropic
import boto3
import httpx2
import openai
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from conftest import TIMEOUT_SECONDS

MODEL = "claude-3-haiku"
OWN_KEY = "obviously-not-a-secret-key-of-alice"
HELLO = [{"role": "user", "content": "Hello, Adit"}]
BLOCKS = [{"role": "user", "content": [{"text": "Hello, Adit"}]}]


@pytest.fixture(scope="module")
def guarded(backends):
    """The address of a gateway that asks for keys."""
    environment = {"AUTH_ENABLED": "true", "BEDROCK_API_KEY_ALICE": OWN_KEY}
    with backends.gateway(environment=environment) as gateway:
        yield gateway.base_url


@pytest.fixture(params=["key", "session"])
def credential(guarded, request):
    if request.param == "key":
        return OWN_KEY
    made = httpx2.post(f"{guarded}/auth/session", headers={"X-API-Key": OWN_KEY}, timeout=TIMEOUT_SECONDS)
    assert made.status_code == 200
    return made.json()["token"]


def bedrock(base_url, token):
    """Over plain HTTP botocore sends no bearer token of its own (AWS_BEARER_TOKEN_BEDROCK), so a header does it; and nothing is signed."""
    config = Config(retries={"total_max_attempts": 1}, read_timeout=TIMEOUT_SECONDS, signature_version=UNSIGNED)
    client = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=base_url, config=config)
    client.meta.events.register("before-sign.bedrock-runtime", lambda request, **_: request.headers.add_header("Authorization", f"Bearer {token}"))
    return client


def test_openai(guarded, credential):
    client = openai.OpenAI(base_url=f"{guarded}/v1", api_key=credential, max_retries=0, timeout=TIMEOUT_SECONDS)
    assert client.chat.completions.create(model=MODEL, messages=HELLO).choices[0].message.content
    assert list(client.models.list())
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key=f"{credential}x").chat.completions.create(model=MODEL, messages=HELLO)


def test_anthropic(guarded, credential):
    client = anthropic.Anthropic(base_url=guarded, api_key=credential, max_retries=0, timeout=TIMEOUT_SECONDS)
    assert client.messages.create(model=MODEL, max_tokens=20, messages=HELLO).content[0].text
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key=f"{credential}x").messages.create(model=MODEL, max_tokens=20, messages=HELLO)


def test_boto3(guarded, credential):
    client = bedrock(guarded, credential)
    assert client.converse(modelId=MODEL, messages=BLOCKS)["output"]["message"]["content"][0]["text"]
    with pytest.raises(client.exceptions.ClientError) as refused:
        bedrock(guarded, f"{credential}x").converse(modelId=MODEL, messages=BLOCKS)
    assert refused.value.response["Error"]["Code"] == "UnrecognizedClientException"
