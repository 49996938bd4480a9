"""boto3, unchanged, against the gateway: every operation, on Bedrock's models and on everybody else's."""

import base64
import json

import anthropic
import botocore
import pytest

import knobs
from backends import BEDROCK_CLAUDE, BEDROCK_CLAUDE_NEW, BEDROCK_NOVA
from clients import AWS_KEY, AWS_SECRET, MOST_TOKENS, bedrock, converse_answer, put_together
from conftest import TIMEOUT_SECONDS
from test_openai import pdf, png

pytestmark = pytest.mark.usefixtures("content")

OTHERS = ["m-openai", "m-azure", "m-anthropic", "m-vertex-gemini", "m-vertex-claude"]
EVERY = [BEDROCK_CLAUDE, "m-bedrock-nova", *OTHERS]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"toolSpec": {"name": name, "description": "What a city has", "inputSchema": {"json": CITY}}} for name in ("get_weather", "get_time")]
MOST = {"inferenceConfig": {"maxTokens": MOST_TOKENS}}
INVOKE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def client(adit):
    return bedrock(adit)


def user(text, *blocks):
    return [{"role": "user", "content": [*blocks, {"text": text}]}]


def text_of(answer):
    return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])


def headers_of(answer):
    return answer["ResponseMetadata"]["HTTPHeaders"]


class TestConverse:
    @pytest.mark.parametrize("model", EVERY)
    def test_whole_and_streamed(self, client, model):
        request = {"modelId": model, "messages": user("Hello, Adit"), "system": [{"text": "Be brief."}], **MOST}
        whole = client.converse(**request)
        assert text_of(whole) == "Echo: Hello, Adit (system: Be brief.)"
        assert whole["stopReason"] == "end_turn" and whole["output"]["message"]["role"] == "assistant"
        streamed = converse_answer(list(client.converse_stream(**request)["stream"]))
        assert {name: streamed[name] for name in ("output", "stopReason", "usage")} == {name: whole[name] for name in ("output", "stopReason", "usage")}
        assert headers_of(whole)["x-adit-provider"] and headers_of(whole)["x-request-id"]

    @pytest.mark.parametrize("model", OTHERS)
    def test_an_image_and_a_document(self, client, model):
        image = {"image": {"format": "png", "source": {"bytes": png()}}}
        assert f"[image png, {len(png())} bytes]" in text_of(client.converse(modelId=model, messages=user("Look", image), **MOST))
        document = {"document": {"format": "pdf", "name": "report", "source": {"bytes": pdf()}}}
        text = text_of(client.converse(modelId=model, messages=user("Read", document), **MOST))
        assert "[document pdf" in text and f"{len(pdf())} bytes]" in text

    @pytest.mark.parametrize("model", EVERY)
    def test_tools(self, client, model):
        def call(text, **choice):
            return client.converse(modelId=model, messages=user(text), toolConfig={"tools": TOOLS, **choice}, **MOST)

        answer = call("Hello", toolChoice={"tool": {"name": "get_time"}})
        assert [block["toolUse"]["name"] for block in answer["output"]["message"]["content"]] == ["get_time"]
        assert call("Hello", toolChoice={"any": {}})["stopReason"] == "tool_use"
        assert call("Hello", toolChoice={"auto": {}})["stopReason"] == "end_turn"

    @pytest.mark.parametrize("model", OTHERS)
    def test_a_failed_tool_and_results_as_json(self, client, model):
        messages = user("Use both tools for Rome")
        turn = client.converse(modelId=model, messages=messages, toolConfig={"tools": TOOLS}, **MOST)["output"]["message"]
        first, second = (block["toolUse"]["toolUseId"] for block in turn["content"] if "toolUse" in block)
        results = [
            {"toolResult": {"toolUseId": second, "status": "error", "content": [{"text": "no clock"}]}},
            {"toolResult": {"toolUseId": first, "content": [{"json": {"sky": "blue"}}]}},
        ]
        text = text_of(client.converse(modelId=model, messages=[*messages, turn, {"role": "user", "content": results}], toolConfig={"tools": TOOLS}, **MOST))
        assert "no clock" in text and '"sky"' in text

    @pytest.mark.parametrize("model", EVERY)
    def test_limits_of_the_answer(self, client, model):
        answer = client.converse(modelId=model, messages=user("one two three four"), inferenceConfig={"maxTokens": 2})
        assert answer["stopReason"] == "max_tokens"
        answer = client.converse(modelId=model, messages=user("before STOP after"), inferenceConfig={"maxTokens": 99, "stopSequences": ["STOP"]})
        assert text_of(answer) == "Echo: before " and answer["stopReason"] in ("stop_sequence", "end_turn")

    @pytest.mark.parametrize("model", ["m-openai", "m-anthropic"])
    def test_sampling_arrives(self, client, backends, model):
        client.converse(modelId=model, messages=user("Hello"), inferenceConfig={"maxTokens": 50, "temperature": 0.25})
        assert backends.behind(model).last().json()["temperature"] == 0.25

    def test_additional_fields_arrive(self, client, backends):
        client.converse(modelId="m-anthropic", messages=user("Hello"), additionalModelRequestFields={"top_k": 7}, **MOST)
        # The SDKs' newest API version has no top_k: without one of the client's the gateway asks for the older.
        assert backends.anthropic.last().json()["top_k"] == 7
        client.converse(modelId="m-openai", messages=user("Hello"), additionalModelRequestFields={"seed": 7}, **MOST)
        assert backends.openai.last().json()["seed"] == 7

    def test_cache_points(self, client):
        system = [{"text": "Long instructions for converse"}, {"cachePoint": {"type": "default"}}]
        first, second = (client.converse(modelId="m-anthropic", messages=user("Hello"), system=system, **MOST)["usage"] for _ in range(2))
        assert first["cacheWriteInputTokens"] == second["cacheReadInputTokens"] > 0
        # Elsewhere they are left out.
        assert client.converse(modelId="m-openai", messages=user("Hello"), system=system, **MOST)["stopReason"] == "end_turn"

    def test_reasoning(self, client):
        thinking = {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "inferenceConfig": {"maxTokens": 4096}}
        for model in (BEDROCK_CLAUDE, "m-anthropic", "m-vertex-claude"):
            turn = client.converse(modelId=model, messages=user("Hello"), **thinking)["output"]["message"]
            assert [next(iter(block)) for block in turn["content"]] == ["reasoningContent", "text"]
            answer = client.converse(modelId=model, messages=[*user("Hello"), turn, *user("Go on")], **thinking)
            assert answer["stopReason"] == "end_turn"

    @pytest.mark.parametrize("model", OTHERS)
    def test_what_has_no_place_is_named(self, client, model):
        answer = client.converse(
            modelId=model,
            messages=user("Hello"),
            guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1"},
            performanceConfig={"latency": "optimized"},
            **MOST,
        )
        dropped = {name.strip() for name in headers_of(answer)["x-adit-dropped"].split(",")}
        assert {"guardrailConfig", "performanceConfig"} <= dropped


class TestNames:
    @pytest.mark.parametrize(
        "model",
        [
            "m-bedrock-claude",
            BEDROCK_CLAUDE,
            "anthropic.claude-3-haiku-20240307-v1:0",
            "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
            f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{BEDROCK_CLAUDE}",
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
        ],
    )
    def test_aliases_ids_and_arns(self, client, backends, model):
        assert text_of(client.converse(modelId=model, messages=user("Hello"))) == "Echo: Hello"
        assert backends.sandbox.last()["model"] == (BEDROCK_CLAUDE if model == "m-bedrock-claude" else model)

    def test_an_alias(self, backends):
        with backends.gateway(models={"mine": {"targets": [{"provider": "openai", "model": "gpt-4.1-mini"}], "aliases": ["also.mine-v1:0"]}}) as gateway:
            answer = bedrock(gateway.base_url).converse(modelId="also.mine-v1:0", messages=user("Hello"))
        assert text_of(answer) == "Echo: Hello" and headers_of(answer)["x-adit-provider"] == "openai"

    @pytest.mark.parametrize("prefix", ["/bedrock", "/providers/bedrock"])
    def test_below_other_paths(self, adit, prefix):
        assert text_of(bedrock(adit + prefix).converse(modelId=BEDROCK_CLAUDE, messages=user("Hello"))) == "Echo: Hello"


class TestInvoke:
    @pytest.mark.parametrize("model", [BEDROCK_CLAUDE, "m-bedrock-claude", *OTHERS])
    def test_a_messages_body(self, client, model):
        answer = client.invoke_model(modelId=model, body=json.dumps(INVOKE))
        assert json.loads(answer["body"].read())["content"][0]["text"] == "Echo: Hello"
        events = client.invoke_model_with_response_stream(modelId=model, body=json.dumps(INVOKE))["body"]
        message = put_together([json.loads(event["chunk"]["bytes"]) for event in events])
        assert message["content"][0]["text"] == "Echo: Hello" and message["stop_reason"] == "end_turn"

    def test_the_anthropic_package(self, adit):
        for model in (BEDROCK_CLAUDE, BEDROCK_CLAUDE_NEW, "m-openai"):
            client = anthropic.AnthropicBedrock(
                base_url=adit, aws_access_key=AWS_KEY, aws_secret_key=AWS_SECRET, aws_region="us-east-1", max_retries=0, timeout=TIMEOUT_SECONDS
            )
            with client.messages.stream(model=model, max_tokens=100, messages=INVOKE["messages"]) as stream:
                assert stream.get_final_text() == "Echo: Hello"
            with pytest.raises(anthropic.NotFoundError):
                client.messages.create(model="no-such-model", max_tokens=100, messages=INVOKE["messages"])


class TestCountTokens:
    @pytest.mark.parametrize("model", [BEDROCK_CLAUDE.removeprefix("us."), "m-bedrock-nova", "m-anthropic", "m-vertex-claude"])
    def test_of_converse(self, client, model):
        assert 0 < client.count_tokens(modelId=model, input={"converse": {"messages": user("12345678")}})["inputTokens"] < 10

    @pytest.mark.parametrize("model", [BEDROCK_CLAUDE.removeprefix("us."), "m-anthropic"])
    def test_of_invoke(self, client, model):
        # boto3 wants the bytes and does the base64 itself.
        assert 0 < client.count_tokens(modelId=model, input={"invokeModel": {"body": json.dumps(INVOKE).encode()}})["inputTokens"] < 60


class TestErrors:
    def raised(self, call, **request):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            call(**request)
        response = caught.value.response
        assert response["Error"]["Message"], response
        assert headers_of(response)["x-amzn-errortype"].split(":")[0] == response["Error"]["Code"]
        return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]

    @pytest.mark.parametrize("operation", ["converse", "converse_stream"])
    @pytest.mark.parametrize(
        ("exception", "status"),
        [
            ("ValidationException", 400),
            ("AccessDeniedException", 403),
            ("ResourceNotFoundException", 404),
            ("ThrottlingException", 429),
            ("ModelTimeoutException", 408),
            ("ModelErrorException", 424),
            ("InternalServerException", 500),
            ("ServiceUnavailableException", 503),
        ],
    )
    def test_bedrock_s_own_pass(self, client, operation, exception, status):
        assert self.raised(getattr(client, operation), modelId=knobs.refuse(exception), messages=user("Hello")) == (exception, status)

    @pytest.mark.parametrize("model", OTHERS)
    @pytest.mark.parametrize(
        ("status", "exception"),
        [(400, "ValidationException"), (429, "ThrottlingException"), (500, "InternalServerException"), (503, "ServiceUnavailableException")],
    )
    def test_others_get_bedrock_s_names(self, client, model, status, exception):
        assert self.raised(client.converse, modelId=f"{model}.error-{status}", messages=user("Hello")) == (exception, status)

    def test_an_unknown_model(self, client):
        for call in (client.converse, client.converse_stream):
            assert self.raised(call, modelId="no-such-model", messages=user("Hello")) == ("ResourceNotFoundException", 404)

    @pytest.mark.parametrize("model", [knobs.refuse_in_stream("throttlingException"), "m-openai.error-midstream", "m-anthropic.error-midstream"])
    def test_an_error_in_the_stream(self, client, model):
        seen = []
        with pytest.raises(botocore.exceptions.EventStreamError) as caught:
            for event in client.converse_stream(modelId=model, messages=user("one two three four five six"))["stream"]:
                seen.extend(event)
        assert "contentBlockDelta" in seen and "messageStop" not in seen
        assert caught.value.response["Error"]["Code"].endswith("Exception") and caught.value.response["Error"]["Message"]

    @pytest.mark.parametrize("model", ["m-openai.cut", "m-anthropic.cut"])
    def test_a_stream_that_breaks_off(self, client, model):
        seen = []
        with pytest.raises((botocore.exceptions.EventStreamError, botocore.exceptions.HTTPClientError)):
            for event in client.converse_stream(modelId=model, messages=user("one two three four five six"))["stream"]:
                seen.extend(event)
        assert "messageStop" not in seen

    def test_a_part_that_has_no_place(self, client):
        video = {"video": {"format": "mp4", "source": {"bytes": base64.b64decode("AAAA")}}}
        assert self.raised(client.converse, modelId="m-openai", messages=user("Watch", video)) == ("ValidationException", 400)


def test_what_goes_to_bedrock_is_signed_anew(client, backends):
    client.converse(modelId=BEDROCK_NOVA, messages=user("Hello"))
    # The client's key is none that the sandbox knows.
    assert backends.sandbox.last()["verification"] == "ok"
