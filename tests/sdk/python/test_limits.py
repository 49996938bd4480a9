"""What the vendors' SDKs make of a user's limits: which error, what it says of the wait, and what good answers tell of what is left."""

import re
from datetime import datetime, timezone

import anthropic
import boto3
import openai
import pytest
from botocore.config import Config

from conftest import TIMEOUT_SECONDS

MODEL = "m-bedrock-claude"
PRICED = "m-priced"
HELLO = [{"role": "user", "content": "Hello, Adit"}]
BLOCKS = [{"role": "user", "content": [{"text": "Hello, Adit"}]}]
# As OpenAI writes them: 1s, 6m0s, 120ms.
SPAN = re.compile(r"(\d+h)?(\d+m)?(\d+(\.\d+)?s)?(\d+ms)?")


def limited(backends, limits, models=None):
    return backends.gateway(process={"limits": {"default": limits}}, models=models)


def test_openai_is_told_what_is_left_and_how_long_to_wait(backends):
    with limited(backends, {"requests_per_minute": 2, "tokens_per_minute": 100_000}) as gateway:
        client = openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT_SECONDS)
        for left in ["1", "0"]:
            answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, max_tokens=20)
            assert answer.parse().choices[0].message.content
            told = answer.headers
            assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("2", left)
            assert told["x-ratelimit-limit-tokens"] == "100000"
            assert int(told["x-ratelimit-remaining-tokens"]) < 100_000
            for name in ["x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"]:
                assert told[name] and SPAN.fullmatch(told[name]), told[name]
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=20)
        assert refused.value.code == "rate_limit_exceeded"
        assert 0 < int(refused.value.response.headers["retry-after"]) <= 61


def test_anthropic_is_told_by_its_own_names(backends):
    with limited(backends, {"requests_per_minute": 1, "tokens_per_minute": 100_000}) as gateway:
        client = anthropic.Anthropic(base_url=gateway.base_url, api_key="none", max_retries=0, timeout=TIMEOUT_SECONDS)
        told = client.messages.with_raw_response.create(model=MODEL, max_tokens=20, messages=HELLO).headers
        assert (told["anthropic-ratelimit-requests-limit"], told["anthropic-ratelimit-requests-remaining"]) == ("1", "0")
        assert datetime.fromisoformat(told["anthropic-ratelimit-requests-reset"]) > datetime.now(timezone.utc)
        with pytest.raises(anthropic.RateLimitError) as refused:
            client.messages.create(model=MODEL, max_tokens=20, messages=HELLO)
        assert refused.value.body["error"]["type"] == "rate_limit_error"
        assert 0 < int(refused.value.response.headers["retry-after"]) <= 61


def test_boto3_is_throttled(backends):
    with limited(backends, {"requests_per_minute": 1}) as gateway:
        config = Config(retries={"total_max_attempts": 1}, read_timeout=TIMEOUT_SECONDS)
        client = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=gateway.base_url,
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="not-a-secret",
            config=config,
        )
        assert client.converse(modelId=MODEL, messages=BLOCKS)["output"]
        with pytest.raises(client.exceptions.ThrottlingException):
            client.converse(modelId=MODEL, messages=BLOCKS)


def test_a_spent_budget_is_no_matter_of_waiting_a_moment(backends):
    target = {"bedrock": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"}
    models = {PRICED: {**target, "price": {"input": 1_000_000, "output": 1_000_000}}}
    with limited(backends, {"budget": {"daily_usd": 1}}, models) as gateway:
        client = openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT_SECONDS)
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model=PRICED, messages=HELLO, max_tokens=20)
        assert refused.value.code == "insufficient_quota"
        # What has no price costs nothing.
        assert client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=20).choices
