"""boto3 against the sandbox alone: an independent client signs, reads the frames and names the errors."""

import base64
import json

import boto3
import botocore
import pytest
from botocore.config import Config

from gateway import Sandbox

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
SONNET_3_7 = "anthropic.claude-3-7-sonnet-20250219-v1:0"
SONNET_4_5 = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": CITY}}}]}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


@pytest.fixture(autouse=True)
def still_serving():
    """No gateway is needed here."""


@pytest.fixture(scope="module")
def endpoint():
    """The address of an `adit sandbox` of this file's own: nobody else fills its prompt cache."""
    with Sandbox() as sandbox:
        yield sandbox.base_url


@pytest.fixture(scope="module")
def connect(endpoint):
    """Makes clients of the sandbox, by default with the key that it knows."""

    def connect(key=Sandbox.ACCESS_KEY_ID, secret=Sandbox.SECRET_ACCESS_KEY, token=None):
        return boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"max_attempts": 1}),
        )

    return connect


@pytest.fixture(scope="module")
def bedrock(connect):
    return connect()


def user(text):
    return [{"role": "user", "content": [{"text": text}]}]


def deltas(events):
    return [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]


def text_of(answer):
    return answer["output"]["message"]["content"][0]["text"]


def stream(bedrock, **request):
    return list(bedrock.converse_stream(**request)["stream"])


def test_converse(bedrock):
    answer = bedrock.converse(modelId=HAIKU, messages=user("Hello!"), system=[{"text": "Be kind."}], inferenceConfig={"maxTokens": 100, "temperature": 0.5})
    assert text_of(answer) == "Echo: Hello! (system: Be kind.)"
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"]["totalTokens"] > 0


def test_converse_stream(bedrock):
    events = stream(bedrock, modelId=HAIKU, messages=user("Hello there, friend"))
    assert "".join(delta["text"] for delta in deltas(events)) == "Echo: Hello there, friend"
    assert [list(event)[0] for event in events][-2:] == ["messageStop", "metadata"]


def test_the_arn_of_an_inference_profile(bedrock):
    assert bedrock.converse(modelId=PROFILE, messages=user("x"))["stopReason"] == "end_turn"


def test_an_image(bedrock):
    content = [{"text": "look"}, {"image": {"format": "png", "source": {"bytes": PIXEL}}}]
    assert text_of(bedrock.converse(modelId=HAIKU, messages=[{"role": "user", "content": content}])) == "Echo: look [image png, 70 bytes]"


def test_count_tokens(bedrock):
    assert bedrock.count_tokens(modelId=HAIKU, input={"converse": {"messages": user("12345678")}})["inputTokens"] == 2


def test_stop_sequence_tier_and_guardrail(bedrock):
    answer = bedrock.converse(
        modelId=HAIKU,
        messages=user("a b"),
        inferenceConfig={"stopSequences": ["b"]},
        additionalModelResponseFieldPaths=["/stop_sequence"],
        requestMetadata={"team": "x"},
        serviceTier={"type": "flex"},
        guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"},
    )
    assert answer["additionalModelResponseFields"] == {"stop_sequence": "b"}
    assert answer["serviceTier"] == {"type": "flex"}


def test_structured_output(bedrock):
    schema = json.dumps(CITY | {"additionalProperties": False})
    text_format = {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}}
    answer = bedrock.converse(modelId=SONNET_4_5, messages=user("weather in Oslo"), outputConfig={"textFormat": text_format})
    assert json.loads(text_of(answer)) == {"city": "Oslo"}


def test_tools(bedrock):
    question = user("What is the weather in Berlin?")
    fragments = [delta["toolUse"]["input"] for delta in deltas(stream(bedrock, modelId=HAIKU, messages=question, toolConfig=TOOLS)) if "toolUse" in delta]
    assert json.loads("".join(fragments)) == {"city": "Berlin"}
    turn = bedrock.converse(modelId=HAIKU, messages=question, toolConfig=TOOLS)["output"]["message"]
    call = next(block["toolUse"] for block in turn["content"] if "toolUse" in block)
    result = {"role": "user", "content": [{"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": "21 degrees"}]}}]}
    answer = bedrock.converse(modelId=HAIKU, messages=[*question, turn, result], toolConfig=TOOLS)
    assert text_of(answer) == "The tool says: 21 degrees"


def test_signed_reasoning_goes_back(bedrock):
    turn = bedrock.converse(modelId=SONNET_3_7, messages=user("think"), additionalModelRequestFields=THINKING)["output"]["message"]
    assert "reasoningContent" in turn["content"][0]
    again = [*user("think"), turn, *user("again")]
    assert bedrock.converse(modelId=SONNET_3_7, messages=again, additionalModelRequestFields=THINKING)["stopReason"] == "end_turn"
    events = stream(bedrock, modelId=SONNET_3_7, messages=user("think"), additionalModelRequestFields=THINKING)
    assert any("signature" in delta.get("reasoningContent", {}) for delta in deltas(events))


def test_the_cache_is_written_and_read(bedrock):
    content = [{"text": "long " * 400}, {"cachePoint": {"type": "default", "ttl": "1h"}}, {"text": "q"}]
    first, second = (bedrock.converse(modelId=SONNET_4_5, messages=[{"role": "user", "content": content}])["usage"] for _ in range(2))
    assert first["cacheWriteInputTokens"] == 500
    assert first["cacheDetails"] == [{"ttl": "1h", "inputTokens": 500}]
    assert (second["cacheReadInputTokens"], second["cacheWriteInputTokens"]) == (500, 0)


@pytest.mark.parametrize("kind", ["citations", "image", "redacted", "reasoning", "tool-empty", "empty"])
def test_kinds_of_answers(bedrock, kind):
    model = f"sandbox.answer-{kind}"
    assert bedrock.converse(modelId=model, messages=user("x"))["stopReason"]
    assert list(stream(bedrock, modelId=model, messages=user("x"))[-1]) == ["metadata"]


@pytest.mark.parametrize(
    ("name", "credentials"),
    [
        ("InvalidSignatureException", {"secret": "another"}),
        ("UnrecognizedClientException", {"key": "AKIDNOBODY"}),
        ("UnrecognizedClientException", {"token": "unknown"}),
    ],
)
def test_wrong_credentials(connect, name, credentials):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        connect(**credentials).converse(modelId=HAIKU, messages=user("x"))
    assert raised.value.response["Error"]["Code"] == name


@pytest.mark.parametrize(
    ("name", "model", "text"),
    [
        ("ValidationException", "no.such-model-v1:0", "x"),
        ("ValidationException", HAIKU, " "),
        ("ThrottlingException", "sandbox.error-throttling", "x"),
        ("ModelNotReadyException", "sandbox.error-model-not-ready.body-empty", "x"),
    ],
)
def test_errors(bedrock, name, model, text):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        bedrock.converse(modelId=model, messages=user(text))
    assert raised.value.response["Error"]["Code"] == name


MESSAGE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "hi there"}]}


def test_invoke(bedrock):
    answer = bedrock.invoke_model(modelId=HAIKU, body=json.dumps(MESSAGE))
    assert answer["contentType"] == "application/json"
    assert json.loads(answer["body"].read())["content"] == [{"type": "text", "text": "Echo: hi there"}]
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == "2"
    with pytest.raises(botocore.exceptions.ClientError, match="model: Extra inputs are not permitted"):
        bedrock.invoke_model(modelId=HAIKU, body=json.dumps({**MESSAGE, "model": "x"}))


def test_invoke_with_response_stream(bedrock):
    answer = bedrock.invoke_model_with_response_stream(modelId=HAIKU, body=json.dumps(MESSAGE))
    events = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    assert "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta") == "Echo: hi there"
    with pytest.raises(botocore.exceptions.EventStreamError, match="modelTimeoutException"):
        list(bedrock.invoke_model_with_response_stream(modelId="sandbox.exception-model-timeout.after-1", body=json.dumps(MESSAGE))["body"])


def test_embeddings(bedrock):
    body = {"texts": ["a", "b"], "input_type": "search_query", "output_dimension": 256}
    answer = json.loads(bedrock.invoke_model(modelId="cohere.embed-v4:0", body=json.dumps(body))["body"].read())
    assert [len(vector) for vector in answer["embeddings"]] == [256, 256]


def test_operations_that_are_not_there(bedrock):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        bedrock.start_async_invoke(modelId=HAIKU, modelInput={}, outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://bucket/key"}})
    assert raised.value.response["Error"]["Code"] == "UnknownOperationException"


@pytest.mark.parametrize("name", ["throttling", "validation", "internal-server", "service-unavailable", "model-stream-error"])
def test_exceptions_in_a_stream(bedrock, name):
    with pytest.raises(botocore.exceptions.EventStreamError) as raised:
        stream(bedrock, modelId=f"sandbox.pause-0ms.exception-{name}.after-1", messages=user("x y z"))
    assert raised.value.response["Error"]["Code"].lower() == name.replace("-", "") + "exception"


def test_a_corrupt_frame(bedrock):
    with pytest.raises(botocore.eventstream.ChecksumMismatch):
        stream(bedrock, modelId="sandbox.corrupt-1", messages=user("x"))
