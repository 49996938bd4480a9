"""The stand-ins by themselves: the vendors' SDKs are content with them, and they refuse what the vendors refuse."""

import base64
import json

import anthropic
import httpx2
import openai
import pytest

import clients
from conftest import KEY, TIMEOUT_SECONDS
from gateway import Sandbox
from standins import schema
from standins.anthropic import Anthropic
from standins.oauth import GRANT, SCOPE, OAuth
from standins.openai import Azure, OpenAi
from standins.vertex import LOCATION, Vertex
from test_matrix import check, converse
from test_openai import WEATHER, calls_of, data_url, pdf, png, text_of, well_formed

GPT = "gpt-4.1-mini"
CLAUDE = "claude-sonnet-4-5-20250929"
HELLO = [{"role": "user", "content": "Hello, stand-in"}]
TOOL = {"name": "get_weather", "description": "The weather of a city", "input_schema": WEATHER["function"]["parameters"]}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}


@pytest.fixture(autouse=True)
def still_serving():
    """No gateway is needed here."""


@pytest.fixture(scope="module")
def oauth():
    with OAuth() as stand_in:
        yield stand_in


@pytest.fixture
def gpt():
    with OpenAi() as stand_in:
        yield stand_in


@pytest.fixture
def claude():
    with Anthropic() as stand_in:
        yield stand_in


@pytest.fixture
def vertex(oauth):
    with Vertex(oauth) as stand_in:
        yield stand_in


def openai_client(stand_in, **more):
    return openai.OpenAI(base_url=f"{stand_in.base_url}/v1", api_key=more.pop("api_key", stand_in.KEY), max_retries=0, timeout=TIMEOUT_SECONDS, **more)


def anthropic_client(stand_in, **more):
    return anthropic.Anthropic(base_url=stand_in.base_url, api_key=stand_in.KEY, max_retries=0, timeout=TIMEOUT_SECONDS, **more)


class TestOpenAi:
    def test_a_conversation_with_an_image_and_tools(self, gpt):
        client = openai_client(gpt)
        content = [{"type": "text", "text": "What is the weather in Paris?"}, {"type": "image_url", "image_url": {"url": data_url("image/png", png())}}]
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
        answer = client.chat.completions.create(model=GPT, messages=messages, tools=[WEATHER])
        assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == ("tool_calls", "I'll call get_weather.")
        (call,) = answer.choices[0].message.tool_calls
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        turn = answer.choices[0].message.model_dump(include={"role", "content", "tool_calls"})
        messages += [turn, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        answer = client.chat.completions.create(model=GPT, messages=messages, tools=[WEATHER])
        assert answer.choices[0].message.content == "The tool says: sunny (system: Be brief.)"
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        assert gpt.objections == []

    def test_streams(self, gpt):
        client = openai_client(gpt)
        chunks = list(client.chat.completions.create(model=GPT, messages=HELLO, stream=True, stream_options={"include_usage": True}))
        well_formed(chunks, usage=True)
        assert text_of(chunks) == "Echo: Hello, stand-in"
        chunks = list(client.chat.completions.create(model=GPT, messages=HELLO, tools=[WEATHER], tool_choice="required", stream=True))
        assert [call["name"] for call in calls_of(chunks)] == ["get_weather"]
        chunks = list(client.chat.completions.create(model=GPT, messages=HELLO, n=3, stream=True))
        assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1, 2}
        assert gpt.objections == []

    def test_several_choices_a_file_and_a_schema(self, gpt):
        client = openai_client(gpt)
        assert len(client.chat.completions.create(model=GPT, messages=HELLO, n=3).choices) == 3
        file = {"type": "file", "file": {"filename": "report.pdf", "file_data": data_url("application/pdf", pdf())}}
        answer = client.chat.completions.create(model=GPT, messages=[{"role": "user", "content": [{"type": "text", "text": "Read"}, file]}])
        assert answer.choices[0].message.content == f"Echo: Read [document pdf, {len(pdf())} bytes]"
        wanted = {"name": "city", "schema": WEATHER["function"]["parameters"], "strict": True}
        answer = client.chat.completions.create(model=GPT, messages=HELLO, response_format={"type": "json_schema", "json_schema": wanted})
        assert json.loads(answer.choices[0].message.content) == {"city": "Paris"}
        assert gpt.objections == []

    def test_embeddings(self, gpt):
        client = openai_client(gpt)
        # The SDK asks for base64 unless it is told otherwise.
        packed = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"], dimensions=8)
        plain = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"], dimensions=8, encoding_format="float")
        assert [one.embedding for one in packed.data] == [one.embedding for one in plain.data]
        assert packed.data[0].embedding != packed.data[1].embedding
        assert len(client.embeddings.create(model="text-embedding-3-large", input=[1, 2, 3]).data[0].embedding) == 3072
        assert gpt.objections == []

    def test_models(self, gpt):
        assert GPT in [model.id for model in openai_client(gpt).models.list()]

    @pytest.mark.parametrize(
        ("what", "request_body"),
        [
            ("foo", {"foo": 1}),
            ("cache_control", {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]}),
            ("reasoning_content", {"messages": [*HELLO, {"role": "assistant", "content": "x", "reasoning_content": "y"}, *HELLO]}),
            ("max_tokens", {"max_tokens": "many"}),
            ("no answer", {"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}]}),
            ("did not", {"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}, *HELLO]}),
            ("must be a response", {"messages": [*HELLO, {"role": "tool", "tool_call_id": "call_1", "content": "x"}]}),
            ("JSON object", {"messages": [*HELLO, {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": ""}}]}]}),
            ("40 characters", {"messages": [*HELLO, {"role": "assistant", "tool_calls": [{**CALL, "id": "x" * 41}]}]}),
            ("name", {"tools": [{"type": "function", "function": {"name": "my.tool"}}]}),
            ("tools", {"tool_choice": "auto"}),
            ("tools", {"tools": []}),
            ("stream_options", {"stream_options": {"include_usage": True}}),
            ("image/jpeg", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url("image/jpeg", png())}}]}]}),
            ("json", {"response_format": {"type": "json_object"}}),
            ("max_tokens", {"model": "gpt-5-mini", "max_tokens": 5}),
            ("reasoning_effort", {"reasoning_effort": "low"}),
        ],
    )
    def test_refusals(self, gpt, what, request_body):
        body = {"model": GPT, "messages": HELLO, **request_body}
        answer = httpx2.post(f"{gpt.base_url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {gpt.KEY}"}, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 400 and what in answer.json()["error"]["message"], answer.text
        assert len(gpt.objections) == 1

    @pytest.mark.parametrize("headers", [{"x-api-key": KEY}, {"api-key": KEY}, {"cookie": "a=b"}, {"x-amz-date": "20260101T000000Z"}, {"x-goog-api-key": KEY}])
    def test_credentials_of_clients(self, gpt, headers):
        with pytest.raises(openai.AuthenticationError):
            openai_client(gpt, default_headers=headers).models.list()
        with pytest.raises(openai.AuthenticationError):
            openai_client(gpt, api_key=KEY).models.list()
        assert len(gpt.objections) == 2


class TestAzure:
    def test_deployments(self):
        with Azure() as azure:
            client = openai.AzureOpenAI(azure_endpoint=azure.base_url, api_key=azure.KEY, api_version="2024-10-21", max_retries=0)
            assert client.chat.completions.create(model=GPT, messages=HELLO).choices[0].message.content == "Echo: Hello, stand-in"
            assert text_of(client.chat.completions.create(model=GPT, messages=HELLO, stream=True)) == "Echo: Hello, stand-in"
            assert azure.objections == []
            assert [request.query for request in azure.wait()] == ["api-version=2024-10-21"] * 2

    def test_v1(self):
        with Azure() as azure:
            answer = httpx2.post(f"{azure.base_url}/openai/v1/chat/completions", json={"model": GPT, "messages": HELLO}, headers={"api-key": azure.KEY})
            assert answer.json()["choices"][0]["message"]["content"] == "Echo: Hello, stand-in"
            answer = httpx2.post(f"{azure.base_url}/openai/deployments/{GPT}/chat/completions", json={"messages": HELLO}, headers={"api-key": azure.KEY})
            assert answer.status_code == 404


class TestAnthropic:
    def test_a_conversation_with_an_image_and_tools(self, claude):
        client = anthropic_client(claude)
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()}}
        messages = [{"role": "user", "content": [{"type": "text", "text": "What is the weather in Paris?"}, image]}]
        more = {"model": CLAUDE, "max_tokens": 100, "system": "Be brief.", "tools": [TOOL]}
        answer = client.messages.create(messages=messages, **more)
        assert answer.stop_reason == "tool_use" and answer.content[0].text == "I'll call get_weather."
        call = answer.content[1]
        assert (call.name, call.input) == ("get_weather", {"city": "Paris"})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
        messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
        with client.messages.stream(messages=messages, **more) as stream:
            final = stream.get_final_message()
        assert final.content[0].text == "The tool says: sunny (system: Be brief.)"
        assert claude.objections == []

    def test_a_stream_has_every_event_in_order(self, claude):
        events = [event.type for event in anthropic_client(claude).messages.create(model=CLAUDE, max_tokens=100, messages=HELLO, stream=True)]
        assert events[:2] == ["message_start", "content_block_start"]
        assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        assert b"event: ping\n" in claude.last().answer

    def test_thinking_comes_back(self, claude):
        client = anthropic_client(claude)
        more = {"model": CLAUDE, "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
        answer = client.messages.create(messages=HELLO, **more)
        assert [block.type for block in answer.content] == ["thinking", "text"]
        client.messages.create(messages=[*HELLO, {"role": "assistant", "content": answer.content}, *HELLO], **more)
        assert claude.objections == []
        answer.content[0].thinking = "Something else."
        with pytest.raises(anthropic.BadRequestError, match="signature"):
            client.messages.create(messages=[*HELLO, {"role": "assistant", "content": answer.content}, *HELLO], **more)

    def test_cache_stop_sequence_and_count(self, claude):
        client = anthropic_client(claude)
        system = [{"type": "text", "text": "Long instructions", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
        first, second = (client.messages.create(model=CLAUDE, max_tokens=100, messages=HELLO, system=system).usage for _ in range(2))
        assert first.cache_creation.ephemeral_1h_input_tokens == first.cache_creation_input_tokens == second.cache_read_input_tokens > 0
        answer = client.messages.create(model=CLAUDE, max_tokens=100, messages=HELLO, stop_sequences=["stand"])
        assert (answer.stop_reason, answer.stop_sequence, answer.content[0].text) == ("stop_sequence", "stand", "Echo: Hello, ")
        assert client.messages.count_tokens(model=CLAUDE, messages=HELLO).input_tokens == 4
        assert CLAUDE in [model.id for model in client.models.list()]
        assert claude.objections == []

    @pytest.mark.parametrize(
        ("what", "request_body"),
        [
            ("foo", {"foo": 1}),
            ("max_tokens", {"max_tokens": None}),
            ("temperature", {"version": "2026-10-21", "temperature": 1}),
            ("both", {"temperature": 1, "top_p": 0.5}),
            ("non-whitespace", {"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}),
            ("user role", {"messages": [{"role": "assistant", "content": "x"}, *HELLO]}),
            ("immediately after", {"messages": [*HELLO, {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}, *HELLO]}),
            ("unexpected", {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}]}),
            ("pattern", {"messages": [*HELLO, {"role": "assistant", "content": [{"type": "tool_use", "id": "a.b", "name": "f", "input": {}}]}]}),
            ("maximum of 4", {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5}),
            ("1024", {"thinking": {"type": "enabled", "budget_tokens": 10}}),
            ("budget", {"thinking": {"type": "enabled", "budget_tokens": 4096}}),
            ("trailing whitespace", {"messages": [*HELLO, {"role": "assistant", "content": "x "}]}),
            ("tool_choice", {"tool_choice": {"type": "any"}}),
        ],
    )
    def test_refusals(self, claude, what, request_body):
        body = {"model": CLAUDE, "max_tokens": 100, "messages": HELLO, **request_body}
        headers = {"x-api-key": claude.KEY, "anthropic-version": body.pop("version", "2023-06-01")}
        answer = httpx2.post(f"{claude.base_url}/v1/messages", json=body, headers=headers, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 400 and what in answer.json()["error"]["message"], answer.text
        assert len(claude.objections) == 1

    def test_credentials_and_version(self, claude):
        body = {"model": CLAUDE, "max_tokens": 100, "messages": HELLO}
        key, version = {"x-api-key": claude.KEY}, {"anthropic-version": "2023-06-01"}
        for headers, status in (
            ({**key, **version}, 200),
            ({"authorization": f"Bearer {claude.KEY}", **version}, 200),
            ({**key, "authorization": f"Bearer {claude.KEY}", **version}, 401),
            ({"x-api-key": KEY, **version}, 401),
            (version, 401),
            (key, 400),
        ):
            assert httpx2.post(f"{claude.base_url}/v1/messages", json=body, headers=headers, timeout=TIMEOUT_SECONDS).status_code == status, headers


class TestVertex:
    def url(self, vertex, rest):
        return f"{vertex.base_url}/v1/projects/{OAuth.PROJECT}/locations/{LOCATION}/{rest}"

    def post(self, vertex, oauth, rest, body):
        authorization = f"Bearer {oauth._token().body['access_token']}"
        return httpx2.post(self.url(vertex, rest), json=body, headers={"authorization": authorization}, timeout=TIMEOUT_SECONDS)

    def test_gemini(self, vertex, oauth):
        rest = "endpoints/openapi/chat/completions"
        answer = self.post(vertex, oauth, rest, {"model": "google/gemini-2.5-flash", "messages": HELLO})
        assert answer.json()["choices"][0]["message"]["content"] == "Echo: Hello, stand-in"
        (error,) = self.post(vertex, oauth, rest, {"model": "google/gemini-2.5-flash.error-429", "messages": HELLO}).json()
        assert error["error"]["status"] == "RESOURCE_EXHAUSTED"

    def test_claude(self, vertex, oauth):
        body = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 100, "messages": HELLO}
        answer = self.post(vertex, oauth, "publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict", body)
        assert answer.json()["content"][0]["text"] == "Echo: Hello, stand-in"
        answer = self.post(vertex, oauth, "publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict", {**body, "stream": True})
        assert answer.text.startswith("event: message_start")
        assert self.post(vertex, oauth, "publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict", {**body, "model": "x"}).status_code == 400

    def test_the_sdk(self, vertex, oauth):
        client = anthropic.AnthropicVertex(
            base_url=f"{vertex.base_url}/v1", project_id=OAuth.PROJECT, region=LOCATION, access_token=oauth._token().body["access_token"], max_retries=0
        )
        answer = client.messages.create(model="claude-sonnet-4-5@20250929", max_tokens=100, messages=HELLO)
        assert answer.content[0].text == "Echo: Hello, stand-in"
        assert vertex.objections == []

    def test_embeddings(self, vertex, oauth):
        body = {"instances": [{"content": "one"}, {"content": "two"}], "parameters": {"outputDimensionality": 8}}
        predictions = self.post(vertex, oauth, "publishers/google/models/text-embedding-005:predict", body).json()["predictions"]
        assert [len(one["embeddings"]["values"]) for one in predictions] == [8, 8]

    def test_no_token(self, vertex):
        answer = httpx2.post(self.url(vertex, "endpoints/openapi/chat/completions"), json={}, headers={"authorization": f"Bearer {KEY}"})
        assert answer.status_code == 401


class TestOAuth:
    def test_the_metadata_server(self, oauth):
        url = f"{oauth.base_url}/computeMetadata/v1/instance/service-accounts/default/token"
        assert httpx2.get(url).status_code == 403
        assert httpx2.get(url, headers={"metadata-flavor": "Google"}).json()["access_token"] in oauth.issued

    def test_a_wrong_signature(self, oauth):
        def encode(part):
            return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

        parts = [json.dumps({"alg": "RS256", "typ": "JWT", "kid": oauth.KEY_ID}).encode(), json.dumps({"scope": SCOPE}).encode(), b"x" * 256]
        answer = httpx2.post(f"{oauth.base_url}/token", data={"grant_type": GRANT, "assertion": ".".join(map(encode, parts))})
        assert (answer.status_code, answer.json()["error_description"]) == (400, "Invalid JWT Signature.")


class TestKnobs:
    @pytest.mark.parametrize(("status", "raised"), [(429, openai.RateLimitError), (500, openai.InternalServerError)])
    def test_errors(self, gpt, status, raised):
        with pytest.raises(raised):
            openai_client(gpt).chat.completions.create(model=f"{GPT}.error-{status}", messages=HELLO)
        assert gpt.objections == [], "a knob's error is nobody's mistake"

    def test_an_error_in_the_stream(self, gpt, claude):
        text = [{"role": "user", "content": "one two three four five"}]
        with pytest.raises(openai.APIError):
            list(openai_client(gpt).chat.completions.create(model=f"{GPT}.error-midstream", messages=text, stream=True))
        with pytest.raises(anthropic.APIStatusError):
            list(anthropic_client(claude).messages.create(model=f"{CLAUDE}.error-midstream", max_tokens=100, messages=text, stream=True))

    def test_a_cut(self, gpt):
        with pytest.raises(openai.APIConnectionError):
            openai_client(gpt).chat.completions.create(model=f"{GPT}.cut", messages=HELLO)
        with pytest.raises((httpx2.RemoteProtocolError, openai.APIError)):
            list(openai_client(gpt).chat.completions.create(model=f"{GPT}.cut", messages=[{"role": "user", "content": "a b c d e"}], stream=True))
        assert [request.state for request in gpt.wait()] == ["broken", "broken"]

    def test_hold_slow_gzip_and_lax(self, gpt):
        client = openai_client(gpt)
        stream = client.chat.completions.create(model=f"{GPT}.hold", messages=HELLO, stream=True)
        gpt.wait(lambda requests: requests[-1].state == "held")
        gpt.release()
        assert text_of(stream) == "Echo: Hello, stand-in"
        assert text_of(client.chat.completions.create(model=f"{GPT}.slow", messages=HELLO, stream=True)) == "Echo: Hello, stand-in"
        raw = client.chat.completions.with_raw_response.create(model=f"{GPT}.gzip", messages=HELLO)
        assert raw.headers["content-encoding"] == "gzip" and raw.parse().choices
        assert client.chat.completions.create(model=f"{GPT}.lax", messages=HELLO, extra_body={"foo": 1}).choices

    def test_the_journal(self, gpt):
        body = b'{ "model" : "gpt-4.1-mini",  "messages": [{"role":"user","content":"\\u0041"}] }'
        url = f"{gpt.base_url}/v1/chat/completions?a=%2F&b"
        answer = httpx2.post(url, content=body, headers={"authorization": f"Bearer {gpt.KEY}", "content-type": "application/json"})
        last = gpt.last()
        assert (last.method, last.path, last.query, last.body) == ("POST", "/v1/chat/completions", "a=%2F&b", body)
        assert last.answer == answer.content and last.state == "complete"
        gpt.forget()
        assert gpt.requests == []


class TestAnswers:
    """What a stand-in says is what its vendor's schema promises."""

    EVENTS = {
        "message_start": "RawMessageStartEvent",
        "content_block_start": "RawContentBlockStartEvent",
        "content_block_delta": "RawContentBlockDeltaEvent",
        "content_block_stop": "RawContentBlockStopEvent",
        "message_delta": "RawMessageDeltaEvent",
        "message_stop": "RawMessageStopEvent",
    }

    def test_openai(self, gpt):
        client = openai_client(gpt)
        for more in ({}, {"tools": [WEATHER], "tool_choice": "required"}, {"n": 2}):
            client.chat.completions.create(model=GPT, messages=HELLO, **more)
            schema.openai("CreateChatCompletionResponse", lax=True).validate(json.loads(gpt.last().answer))
            list(client.chat.completions.create(model=GPT, messages=HELLO, stream=True, **more))
            for line in gpt.last().answer.decode().split("\n\n")[:-2]:
                schema.openai("CreateChatCompletionStreamResponse", lax=True).validate(json.loads(line.removeprefix("data: ")))
        client.embeddings.create(model="text-embedding-3-small", input="x", dimensions=4, encoding_format="float")
        schema.openai("CreateEmbeddingResponse", lax=True).validate(json.loads(gpt.last().answer))
        client.models.list()
        schema.openai("ListModelsResponse", lax=True).validate(json.loads(gpt.last().answer))

    @pytest.mark.parametrize("version", schema.ANTHROPIC_VERSIONS)
    def test_anthropic(self, claude, version):
        client = anthropic_client(claude, default_headers={"anthropic-version": version})
        thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
        for more in ({}, {"tools": [TOOL], "tool_choice": {"type": "any"}}, thinking):
            client.messages.create(model=CLAUDE, max_tokens=2000, messages=HELLO, **more)
            schema.anthropic(version, "Message", lax=True).validate(json.loads(claude.last().answer))
            list(client.messages.create(model=CLAUDE, max_tokens=2000, messages=HELLO, stream=True, **more))
            for block in claude.last().answer.decode().strip().split("\n\n"):
                event = json.loads(block.split("\ndata: ")[1])
                if event["type"] != "ping":
                    schema.anthropic(version, self.EVENTS[event["type"]], lax=True).validate(event)
        assert claude.objections == []


class TestConversation:
    """The matrix's conversation without a gateway: what a provider says to its own client is what every client must hear."""

    @pytest.mark.parametrize("stream", [False, True])
    def test_openai(self, gpt, monkeypatch, stream):
        monkeypatch.setattr(OpenAi, "KEY", KEY)
        check(converse(clients.OpenAi(gpt.base_url, GPT, "Be brief."), stream))
        assert gpt.objections == []

    @pytest.mark.parametrize("stream", [False, True])
    def test_anthropic(self, claude, monkeypatch, stream):
        monkeypatch.setattr(Anthropic, "KEY", KEY)
        check(converse(clients.Anthropic(claude.base_url, CLAUDE, "Be brief."), stream))
        assert claude.objections == []

    @pytest.mark.parametrize("stream", [False, True])
    def test_bedrock(self, monkeypatch, stream):
        monkeypatch.setattr(clients, "AWS_KEY", Sandbox.ACCESS_KEY_ID)
        monkeypatch.setattr(clients, "AWS_SECRET", Sandbox.SECRET_ACCESS_KEY)
        with Sandbox() as sandbox:
            check(converse(clients.Converse(sandbox.base_url, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "Be brief."), stream))
