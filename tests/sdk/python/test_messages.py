"""The official `anthropic` package, unchanged, against the gateway with every kind of provider behind it."""

import base64
import json
import time

import anthropic
import httpx2
import pytest

import knobs
from clients import put_together
from conftest import KEY, TIMEOUT_SECONDS
from test_openai import pdf, png

pytestmark = pytest.mark.usefixtures("content")

# Relayed to Anthropic and Vertex, reframed for Claude on Bedrock, translated for the others.
EVERY = ["m-anthropic", "m-vertex-claude", "m-bedrock-claude", "m-bedrock-nova", "m-openai", "m-azure", "m-vertex-gemini"]
CLAUDES = ["m-anthropic", "m-vertex-claude", "m-bedrock-claude"]
HELLO = [{"role": "user", "content": "Hello, Adit"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": name, "description": "What a city has", "input_schema": CITY} for name in ("get_weather", "get_time")]
MOST = {"max_tokens": 200}
SIX_WORDS = [{"role": "user", "content": "one two three four five six"}]


@pytest.fixture
def client(adit):
    with anthropic.Anthropic(base_url=adit, api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS) as client:
        yield client


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def post(adit, body, **headers):
    return httpx2.post(f"{adit}/v1/messages", json=body, headers={"anthropic-version": "2023-06-01", **headers}, timeout=TIMEOUT_SECONDS)


def events_of(text):
    """(event, data) of an SSE body; each event has both lines."""
    events = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        assert name.startswith("event: ") and data.startswith("data: "), block
        events.append(json.loads(data[6:]))
        assert events[-1]["type"] == name[7:]
    return events


class TestText:
    @pytest.mark.parametrize("model", EVERY)
    def test_whole(self, client, model):
        answer = client.messages.create(model=model, messages=HELLO, system="Be brief.", **MOST)
        assert text_of(answer) == "Echo: Hello, Adit (system: Be brief.)"
        assert (answer.type, answer.role, answer.stop_reason, answer.stop_sequence) == ("message", "assistant", "end_turn", None)
        assert answer.id.startswith("msg_") and answer.model
        assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0

    @pytest.mark.parametrize("model", EVERY)
    def test_streamed(self, client, model):
        whole = client.messages.create(model=model, messages=HELLO, **MOST)
        with client.messages.stream(model=model, messages=HELLO, **MOST) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text == text_of(final) == text_of(whole)
        assert final.stop_reason == "end_turn"
        assert (final.usage.input_tokens, final.usage.output_tokens) == (whole.usage.input_tokens, whole.usage.output_tokens)

    @pytest.mark.parametrize("model", EVERY)
    def test_every_event_in_order(self, adit, model):
        answer = post(adit, {"model": model, "messages": HELLO, "stream": True, "tools": TOOLS, "tool_choice": {"type": "any"}, **MOST})
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = events_of(answer.text)
        assert events[0]["message"]["content"] == [] and events[0]["message"]["stop_reason"] is None
        message = put_together(events)
        assert message["stop_reason"] == "tool_use" and message["id"].startswith("msg_")
        assert [block["type"] for block in message["content"]] == ["tool_use"]

    @pytest.mark.parametrize("model", EVERY)
    def test_max_tokens(self, client, model):
        answer = client.messages.create(model=model, messages=SIX_WORDS, max_tokens=2)
        assert answer.stop_reason == "max_tokens" and answer.usage.output_tokens <= 2

    @pytest.mark.parametrize("model", [*CLAUDES, "m-bedrock-nova"])
    def test_the_stop_sequence_comes_back(self, client, model):
        request = {"model": model, "messages": [{"role": "user", "content": "before STOP after"}], "stop_sequences": ["never", "STOP"], **MOST}
        with client.messages.stream(**request) as stream:
            streamed = stream.get_final_message()
        for answer in (client.messages.create(**request), streamed):
            assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "STOP")
            assert text_of(answer) == "Echo: before "

    @pytest.mark.parametrize("model", EVERY)
    def test_neighbours_of_one_role_are_one_turn(self, client, model):
        messages = [*HELLO, {"role": "user", "content": "two"}, {"role": "assistant", "content": "ok"}, {"role": "user", "content": "three #turns"}]
        assert "(turns: 3)" in text_of(client.messages.create(model=model, messages=messages, **MOST))

    @pytest.mark.parametrize("model", EVERY)
    def test_every_character_survives(self, client, model):
        text = 'quote " backslash \\ newline \n tab \t emoji 🦙 combining e\u0301 separator \u2028 end'
        with client.messages.stream(model=model, messages=[{"role": "user", "content": text}], **MOST) as stream:
            assert text in stream.get_final_text()


class TestParts:
    @pytest.mark.parametrize("model", EVERY)
    def test_an_image(self, client, model):
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()}
        content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
        answer = client.messages.create(model=model, messages=[{"role": "user", "content": content}], **MOST)
        assert f"[image png, {len(png())} bytes]" in text_of(answer)

    @pytest.mark.parametrize("model", ["m-anthropic", "m-bedrock-claude", "m-bedrock-nova", "m-openai"])
    def test_a_document(self, client, model):
        source = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(pdf()).decode()}
        content = [{"type": "document", "title": "My report (final)_v2.pdf", "source": source}, {"type": "text", "text": "Read it"}]
        answer = client.messages.create(model=model, messages=[{"role": "user", "content": content}], **MOST)
        assert "[document pdf" in text_of(answer) and f"{len(pdf())} bytes]" in text_of(answer)

    @pytest.mark.parametrize("model", ["m-anthropic", "m-bedrock-claude", "m-openai"])
    def test_structured_output(self, client, model):
        format = {"type": "json_schema", "schema": {**CITY, "additionalProperties": False}}
        answer = client.messages.create(model=model, messages=HELLO, output_config={"format": format}, **MOST)
        assert json.loads(text_of(answer)) == {"city": "Paris"}

    def test_a_part_that_nobody_knows(self, adit):
        answer = post(adit, {"model": "m-openai", "messages": [{"role": "user", "content": [{"type": "hologram"}]}], **MOST})
        assert answer.status_code == 400 and "messages[0].content[0]" in answer.json()["error"]["message"]


class TestTools:
    @pytest.mark.parametrize("model", EVERY)
    def test_choices(self, client, model):
        def call(choice, text="Hello"):
            return client.messages.create(model=model, messages=[{"role": "user", "content": text}], tools=TOOLS, tool_choice=choice, **MOST)

        names = [block.name for block in call({"type": "tool", "name": "get_time"}).content]
        assert names == ["get_time"]
        assert call({"type": "any"}).stop_reason == "tool_use"
        assert call({"type": "none"}, "What is the weather?").stop_reason == "end_turn"
        if model != "m-vertex-gemini":
            answer = call({"type": "auto", "disable_parallel_tool_use": True}, "Use both tools for Rome")
            assert len([block for block in answer.content if block.type == "tool_use"]) == 1 or "nova" in model

    @pytest.mark.parametrize("model", [*CLAUDES, "m-bedrock-nova"])
    def test_a_failed_tool(self, client, model):
        messages = [{"role": "user", "content": "What is the weather in Paris?"}]
        call = client.messages.create(model=model, messages=messages, tools=TOOLS, **MOST)
        id = call.content[-1].id
        messages += [{"role": "assistant", "content": call.content}]
        messages += [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "is_error": True, "content": "no such city"}]}]
        assert text_of(client.messages.create(model=model, messages=messages, tools=TOOLS, **MOST)) == "The tool failed: no such city"

    @pytest.mark.parametrize("model", EVERY)
    def test_a_tool_without_arguments(self, client, model):
        tool = {"name": "ping", "input_schema": {"type": "object", "properties": {}}}
        with client.messages.stream(model=model, messages=HELLO, tools=[tool], tool_choice={"type": "any"}, **MOST) as stream:
            (call,) = stream.get_final_message().content
        assert (call.name, call.input) == ("ping", {})

    @pytest.mark.parametrize("model", EVERY)
    def test_an_image_as_a_result(self, client, model):
        messages = [{"role": "user", "content": "What is the weather in Paris?"}]
        call = client.messages.create(model=model, messages=messages, tools=TOOLS, **MOST)
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()}
        content = [{"type": "text", "text": "see here"}, {"type": "image", "source": source}]
        messages += [{"role": "assistant", "content": call.content}]
        messages += [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.content[-1].id, "content": content}]}]
        text = text_of(client.messages.create(model=model, messages=messages, tools=TOOLS, **MOST))
        # Where a result has no place for it, it follows as a part of its own.
        assert "see here" in text and f"image png, {len(png())} bytes" in text


class TestThinking:
    REQUEST = {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}}

    @pytest.mark.parametrize("model", CLAUDES)
    def test_thoughts_come_back_as_they_were(self, client, model):
        answer = client.messages.create(model=model, messages=HELLO, **self.REQUEST)
        assert [block.type for block in answer.content] == ["thinking", "text"]
        assert answer.content[0].thinking and answer.content[0].signature
        with client.messages.stream(model=model, messages=HELLO, **self.REQUEST) as stream:
            streamed = stream.get_final_message()
        assert streamed.content[0].thinking == answer.content[0].thinking
        assert streamed.content[0].signature == answer.content[0].signature
        # Both stand-ins refuse a thought that is not what they wrote.
        messages = [*HELLO, {"role": "assistant", "content": streamed.content}, {"role": "user", "content": "Go on"}]
        assert client.messages.create(model=model, messages=messages, **self.REQUEST).stop_reason == "end_turn"

    @pytest.mark.parametrize("model", CLAUDES)
    def test_with_a_tool(self, client, model):
        messages = [{"role": "user", "content": "What is the weather in Paris?"}]
        with client.messages.stream(model=model, messages=messages, tools=TOOLS, **self.REQUEST) as stream:
            call = stream.get_final_message()
        assert [block.type for block in call.content] == ["thinking", "text", "tool_use"]
        messages += [{"role": "assistant", "content": call.content}]
        messages += [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.content[-1].id, "content": "sunny"}]}]
        answer = client.messages.create(model=model, messages=messages, tools=TOOLS, **self.REQUEST)
        assert "sunny" in text_of(answer)


class TestUsage:
    @pytest.mark.parametrize("model", CLAUDES)
    def test_cache_tokens_stand_apart(self, client, model):
        system = [{"type": "text", "text": f"Long instructions of {time.time_ns()}", "cache_control": {"type": "ephemeral"}}]
        first, second = (client.messages.create(model=model, messages=HELLO, system=system, **MOST).usage for _ in range(2))
        assert first.cache_creation_input_tokens == second.cache_read_input_tokens > 0
        assert not first.cache_read_input_tokens and not second.cache_creation_input_tokens
        assert first.input_tokens == second.input_tokens
        with client.messages.stream(model=model, messages=HELLO, system=system, **MOST) as stream:
            third = stream.get_final_message().usage
        assert (third.input_tokens, third.cache_read_input_tokens) == (second.input_tokens, second.cache_read_input_tokens)

    @pytest.mark.parametrize("model", [*CLAUDES, "m-bedrock-nova"])
    def test_count_tokens(self, client, model):
        short = client.messages.count_tokens(model=model, messages=HELLO).input_tokens
        long = client.messages.count_tokens(model=model, messages=HELLO, system="x" * 400, tools=TOOLS).input_tokens
        assert 0 < short < 60 and long >= short + 100

    def test_where_nobody_counts(self, client):
        # OpenAI has no count for chats. An estimate or a clear refusal, never a mere 500.
        try:
            assert client.messages.count_tokens(model="m-openai", messages=HELLO).input_tokens > 0
        except anthropic.APIStatusError as error:
            assert error.status_code in (400, 404, 501)


class TestModels:
    def test_the_list_in_its_own_shape(self, client):
        models = {model.id: model for model in client.models.list()}
        assert {"m-anthropic", "m-openai", "m-bedrock-nova"} <= set(models)
        assert all(model.type == "model" and model.display_name and model.created_at for model in models.values())
        assert client.models.retrieve("m-openai").id == "m-openai"
        with pytest.raises(anthropic.NotFoundError):
            client.models.retrieve("no-such-model")


class TestBedrock:
    """What InvokeModel gets is the client's own body, but for three members."""

    def test_the_body(self, adit, backends):
        body = {"model": "m-bedrock-claude", "messages": HELLO, "stream": True, "metadata": {"user_id": "u1"}, **MOST}
        assert post(adit, body).status_code == 200
        last = backends.sandbox.last()
        assert last["path"].endswith("/invoke-with-response-stream")
        sent = json.loads(last["body"])
        assert sent.pop("anthropic_version") == "bedrock-2023-05-31"
        assert sent == {name: value for name, value in body.items() if name not in ("model", "stream")}

    @pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
    def test_the_version_header_is_not_copied(self, adit, backends, version):
        assert post(adit, {"model": "m-bedrock-claude", "messages": HELLO, **MOST}, **{"anthropic-version": version}).status_code == 200
        assert json.loads(backends.sandbox.last()["body"])["anthropic_version"] == "bedrock-2023-05-31"

    def test_betas(self, client, backends):
        betas = ["interleaved-thinking-2025-05-14", "files-api-2025-04-14", "advanced-tool-use-2025-11-20"]
        client.beta.messages.create(model="m-bedrock-claude", messages=HELLO, betas=betas, **MOST)
        last = backends.sandbox.last()
        # One passes, one is nothing that Bedrock takes, one has another name there.
        assert json.loads(last["body"])["anthropic_beta"] == ["interleaved-thinking-2025-05-14", "tool-search-tool-2025-10-19"]
        assert "anthropic-beta" not in dict(last["headers"])

    def test_metrics_of_bedrock_s_stay_here(self, adit):
        answer = post(adit, {"model": "m-bedrock-claude", "messages": HELLO, "stream": True, **MOST})
        assert "amazon-bedrock" not in answer.text


class TestErrors:
    def check(self, error, status, kind):
        assert (error.status_code, error.body["type"], error.body["error"]["type"]) == (status, "error", kind)
        assert error.body["error"]["message"] and error.response.headers["x-request-id"]
        assert "amazonaws" not in str(error.body) and "127.0.0.1" not in str(error.body)

    def test_an_unknown_model(self, client):
        with pytest.raises(anthropic.NotFoundError) as caught:
            client.messages.create(model="no-such-model", messages=HELLO, **MOST)
        self.check(caught.value, 404, "not_found_error")
        assert "no-such-model" in caught.value.body["error"]["message"] and caught.value.body["request_id"]

    @pytest.mark.parametrize(
        ("body", "what"),
        [(b"{", "byte"), (b'{"model":"m-openai","messages":[]}', "max_tokens"), (b'{"max_tokens":5,"messages":[]}', "model"), (b"[]", "object")],
    )
    def test_a_broken_request(self, adit, body, what):
        answer = httpx2.post(f"{adit}/v1/messages", content=body, headers={"content-type": "application/json"}, timeout=TIMEOUT_SECONDS)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert what in answer.json()["error"]["message"]

    def test_an_unknown_path_and_a_wrong_method(self, adit):
        answer = httpx2.get(f"{adit}/v1/messages", timeout=TIMEOUT_SECONDS)
        assert (answer.status_code, answer.headers["allow"], answer.json()["type"]) == (405, "POST", "error")

    @pytest.mark.parametrize(
        ("exception", "status", "kind"),
        [
            ("ValidationException", 400, "invalid_request_error"),
            ("AccessDeniedException", 403, "permission_error"),
            ("ResourceNotFoundException", 404, "not_found_error"),
            ("ThrottlingException", 429, "rate_limit_error"),
            ("InternalServerException", 500, "api_error"),
            ("ServiceUnavailableException", 503, "overloaded_error"),
            ("ModelTimeoutException", 504, "timeout_error"),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_an_exception_of_bedrock_s(self, client, exception, status, kind, stream):
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model=knobs.refuse(exception), messages=HELLO, stream=stream, **MOST)
        self.check(caught.value, status, kind)

    @pytest.mark.parametrize("model", ["m-anthropic", "m-openai", "m-azure", "m-vertex-gemini", "m-vertex-claude"])
    @pytest.mark.parametrize(("status", "kind"), [(400, "invalid_request_error"), (429, "rate_limit_error"), (500, "api_error"), (503, "overloaded_error")])
    def test_an_error_of_another_provider_s(self, client, model, status, kind):
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model=f"{model}.error-{status}", messages=HELLO, **MOST)
        if model == "m-anthropic" and status == 503:
            # Relayed: the type is Anthropic's own word for it.
            kind = caught.value.body["error"]["type"]
        self.check(caught.value, status, kind)
        assert caught.value.response.headers.get("retry-after") == ("7" if status == 429 else None)

    def test_overloaded(self, client):
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model="m-anthropic.error-529", messages=HELLO, **MOST)
        self.check(caught.value, 529, "overloaded_error")

    @pytest.mark.parametrize("model", [knobs.refuse_in_stream("throttlingException"), *(f"{model}.error-midstream" for model in ("m-anthropic", "m-openai"))])
    def test_an_error_in_the_stream(self, adit, model):
        events = events_of(post(adit, {"model": model, "messages": SIX_WORDS, "stream": True, **MOST}).text)
        assert [event["type"] for event in events].count("content_block_delta") >= 1
        assert events[-1]["type"] == "error" and events[-1]["error"]["message"]
        assert "message_stop" not in [event["type"] for event in events]

    @pytest.mark.parametrize("model", [knobs.cut(), "m-anthropic.cut", "m-openai.cut"])
    def test_a_stream_that_breaks_off(self, client, model):
        with pytest.raises((anthropic.APIError, httpx2.RemoteProtocolError)):
            for event in client.messages.create(model=model, messages=SIX_WORDS, stream=True, **MOST):
                assert event.type != "message_stop"


@pytest.fixture(scope="module")
def impatient(backends):
    """A gateway that says something after a fifth of a second of silence."""
    with backends.gateway(process={"stream": {"keepalive": "200ms"}}) as gateway:
        yield gateway.base_url


# A relay adds nothing to what Anthropic sends: that pings by itself.
@pytest.mark.parametrize("model", [knobs.hold(), "amazon.nova-lite-v1:0.sandbox.hold", "m-openai.hold", "m-vertex-gemini.hold"])
def test_ping_while_the_model_is_silent(impatient, backends, model):
    body = {"model": model, "messages": SIX_WORDS, "stream": True, **MOST}
    seen = []
    with httpx2.stream("POST", f"{impatient}/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"}, timeout=TIMEOUT_SECONDS) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                seen.append(line[7:])
            if "content_block_delta" in seen and seen[-1] == "ping":
                backends.sandbox.release()
                for stand_in in backends.stand_ins:
                    stand_in.release()
    assert seen[-1] == "message_stop"
    assert "ping" in seen[seen.index("content_block_delta") :]
