"""The official `openai` package, unchanged, against the gateway with the Bedrock stand-in behind it."""

import asyncio
import base64
import io
import json
import time
import zlib

import httpx2
import openai
import pytest
from pydantic import BaseModel

import knobs
from conftest import KEY, MODEL, TIMEOUT_SECONDS

HELLO = [{"role": "user", "content": "Hello, Adit"}]
# The stand-in calls all the tools that it is asked for.
BOTH = [{"role": "user", "content": "Use both tools for Paris"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    },
}
TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time of day in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Person(BaseModel):
    name: str
    age: int


def png():
    """A picture of one red pixel."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0") + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")


def pdf():
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")
    return out.getvalue()


def data_url(media_type, data):
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def text_of(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def calls_of(chunks):
    """The tool calls of a stream, put together by index as every client does."""
    calls = {}
    for chunk in chunks:
        for choice in chunk.choices:
            for delta in choice.delta.tool_calls or []:
                call = calls.setdefault(delta.index, {"id": "", "name": "", "arguments": ""})
                call["id"] += delta.id or ""
                if delta.function:
                    call["name"] += delta.function.name or ""
                    call["arguments"] += delta.function.arguments or ""
    assert sorted(calls) == list(range(len(calls))), "indices are dense"
    return [calls[index] for index in sorted(calls)]


def well_formed(chunks, usage=False):
    """What holds for every stream: one id, one time, the role once and first, one finish reason, usage only if asked for and last."""
    assert len({chunk.id for chunk in chunks}) == 1
    assert len({chunk.created for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert {choice.index for choice in choices} == {0}
    assert [choice.delta.role for choice in choices if choice.delta.role] == ["assistant"]
    assert choices[0].delta.role == "assistant"
    assert len([choice for choice in choices if choice.finish_reason]) == 1
    assert choices[-1].finish_reason
    with_usage = [chunk for chunk in chunks if chunk.usage]
    if usage:
        assert with_usage == [chunks[-1]] and chunks[-1].choices == []
        assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens
    else:
        assert with_usage == []
        assert all(chunk.choices for chunk in chunks)


class TestChat:
    def test_sync(self, client):
        answer = client.chat.completions.create(model=MODEL, messages=HELLO)
        assert answer.object == "chat.completion"
        assert answer.id.startswith("chatcmpl-")
        assert answer.model == MODEL
        assert abs(answer.created - time.time()) < 60
        assert len(answer.choices) == 1
        choice = answer.choices[0]
        assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
        assert "Hello, Adit" in choice.message.content
        assert choice.message.tool_calls is None
        assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

    async def test_async(self, async_client):
        answers = await asyncio.gather(
            *(async_client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"number {number}"}]) for number in range(20))
        )
        for number, answer in enumerate(answers):
            assert f"number {number}" in answer.choices[0].message.content
        assert len({answer.id for answer in answers}) == 20

    def test_a_model_id_of_bedrock_s(self, client):
        for model in (
            "anthropic.claude-3-haiku-20240307-v1:0",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdef123456",
        ):
            answer = client.chat.completions.create(model=model, messages=HELLO)
            assert answer.model == model
            assert answer.choices[0].message.content

    def test_system_and_developer_roles(self, client):
        for role in ("system", "developer"):
            messages = [{"role": role, "content": "Be brief."}, *HELLO]
            assert "Be brief." in client.chat.completions.create(model=MODEL, messages=messages).choices[0].message.content
        middle = [
            *HELLO,
            {"role": "assistant", "content": "Hello."},
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": "And now?"},
        ]
        assert "And now?" in client.chat.completions.create(model=MODEL, messages=middle).choices[0].message.content

    def test_multi_turn(self, client):
        messages = []
        for turn in range(4):
            messages.append({"role": "user", "content": f"turn {turn}"})
            answer = client.chat.completions.create(model=MODEL, messages=messages)
            assert f"turn {turn}" in answer.choices[0].message.content
            # As it came: what the answer holds beyond the API's own members goes back too.
            messages.append(answer.choices[0].message.model_dump(exclude_none=True))

    def test_neighbours_of_one_role_and_blank_texts(self, client):
        messages = [
            {"role": "user", "content": "one"},
            {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "  "}]},
            {"role": "assistant", "content": ""},
            {"role": "user", "content": "three #turns"},
        ]
        answer = client.chat.completions.create(model=MODEL, messages=messages)
        # The stand-in counts the turns that came: neighbours are one.
        assert "three" in answer.choices[0].message.content and "(turns: 1)" in answer.choices[0].message.content

    def test_prefill(self, client):
        answer = client.chat.completions.create(model=MODEL, messages=[*HELLO, {"role": "assistant", "content": "The answer is "}])
        assert answer.choices[0].message.content is not None

    def test_the_first_turn_is_the_assistant_s(self, client):
        answer = client.chat.completions.create(model=MODEL, messages=[{"role": "assistant", "content": "Welcome."}, *HELLO])
        assert answer.choices[0].finish_reason == "stop"

    def test_every_character_survives(self, client):
        text = 'quote " backslash \\ newline \n tab \t null-ish \\u0000 emoji 🦙 combining e\u0301 separator \u2028 end'
        answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
        assert text in answer.choices[0].message.content
        chunks = list(client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], stream=True))
        assert text in text_of(chunks)

    def test_max_tokens(self, client):
        for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
            answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "one two three four five six seven"}], **limit)
            assert answer.choices[0].finish_reason == "length"
            assert answer.usage.completion_tokens <= 2
            chunks = list(
                client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "one two three four five six seven"}], stream=True, **limit)
            )
            assert chunks[-1].choices[0].finish_reason == "length"

    def test_stop(self, client):
        for stop in ("STOP", ["STOP"], ["never", "STOP", "  "]):
            answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "before STOP after"}], stop=stop)
            assert answer.choices[0].finish_reason == "stop"
            assert "after" not in answer.choices[0].message.content

    def test_sampling(self, client):
        answer = client.chat.completions.create(model=MODEL, messages=HELLO, temperature=0.3, top_p=0.9)
        assert answer.choices[0].finish_reason == "stop"
        # OpenAI's range ends at 2, Converse's at 1.
        assert client.chat.completions.create(model=MODEL, messages=HELLO, temperature=1.7).choices[0].finish_reason == "stop"

    def test_metadata_and_service_tier(self, client):
        answer = client.chat.completions.create(model=MODEL, messages=HELLO, metadata={"team": "mine", "bad?": "dropped!"}, service_tier="priority")
        assert answer.choices[0].finish_reason == "stop"

    def test_large_requests_arrive_whole(self, client):
        # The stand-in counts a token for each four characters it got.
        short = client.chat.completions.create(model=knobs.words(3), messages=[{"role": "user", "content": "x" * 4}]).usage.prompt_tokens
        for size in (1_000_000, 20_000_000):
            answer = client.chat.completions.create(model=knobs.words(3), messages=[{"role": "user", "content": "x" * size}])
            assert answer.usage.prompt_tokens - short == size // 4 - 1

    def test_a_megabyte_there_and_back(self, client):
        text = " ".join(str(number) for number in range(150_000))
        answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
        assert text in answer.choices[0].message.content

    def test_a_large_chunked_request_arrives_whole(self, base_url):
        text = "x" * 1_000_000 + " the end"
        body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": text}]}).encode()
        pieces = (body[at : at + 10_000] for at in range(0, len(body), 10_000))
        answer = httpx2.post(f"{base_url}/v1/chat/completions", content=pieces, headers={"content-type": "application/json"}, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 200, answer.text
        assert "content-length" not in answer.request.headers
        assert text in answer.json()["choices"][0]["message"]["content"]


class TestStream:
    def test_sync(self, client):
        chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
        well_formed(chunks)
        assert len(chunks) > 3
        assert "Hello, Adit" in text_of(chunks)
        assert chunks[-1].choices[0].finish_reason == "stop"

    def test_the_text_is_that_of_the_whole_answer(self, client):
        whole = client.chat.completions.create(model=MODEL, messages=HELLO).choices[0].message.content
        assert text_of(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True)) == whole

    async def test_async(self, async_client):
        async def one(number):
            stream = await async_client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"number {number}"}], stream=True)
            return [chunk async for chunk in stream]

        for number, chunks in enumerate(await asyncio.gather(*(one(number) for number in range(20)))):
            well_formed(chunks)
            assert f"number {number}" in text_of(chunks)

    def test_usage_comes_if_asked_for(self, client):
        whole = client.chat.completions.create(model=MODEL, messages=HELLO)
        chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}))
        well_formed(chunks, usage=True)
        assert chunks[-1].usage == whole.usage
        chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": False}))
        well_formed(chunks)

    def test_the_stream_helper(self, client):
        with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
            events = list(stream)
            final = stream.get_final_completion()
        assert "".join(event.delta for event in events if event.type == "content.delta") == final.choices[0].message.content
        assert final.choices[0].finish_reason == "stop"
        assert [event.content for event in events if event.type == "content.done"] == [final.choices[0].message.content]

    def test_headers_and_bytes(self, base_url):
        body = {"model": MODEL, "messages": HELLO, "stream": True}
        with httpx2.stream("POST", f"{base_url}/v1/chat/completions", json=body, timeout=TIMEOUT_SECONDS) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert "content-length" not in answer.headers and "content-encoding" not in answer.headers
            assert "no-cache" in answer.headers["cache-control"]
            text = answer.read().decode()
        assert text.endswith("data: [DONE]\n\n")
        events = [event for event in text.split("\n\n") if event and not event.startswith(":")]
        assert all(event.startswith("data: ") and "\n" not in event for event in events)
        assert events.count("data: [DONE]") == 1

    def test_chunks_come_as_the_model_writes_them(self, client):
        pause = 0.3
        for attempt in range(3):
            stream = client.chat.completions.create(model=knobs.slow(pause), messages=[{"role": "user", "content": "one two three four"}], stream=True)
            times = [time.monotonic() for chunk in stream if chunk.choices and chunk.choices[0].delta.content]
            assert len(times) >= 2
            # Each was here before the next was written: no two of them came together. Two may meet a busy machine; a gateway that holds back does so every time.
            if min(later - earlier for earlier, later in zip(times, times[1:])) > pause / 3:
                return
        pytest.fail(f"chunks came together, three times: {times}")

    def test_a_client_that_leaves(self, client, base_url):
        for _ in range(3):
            stream = client.chat.completions.create(model=knobs.slow(0.2), messages=[{"role": "user", "content": "word " * 200}], stream=True)
            next(iter(stream))
            stream.close()
        # The upstream connections are dropped with them: nothing is in flight any more, long before the model would have been done.
        deadline = time.monotonic() + 5
        while in_flight(base_url) > 0:
            assert time.monotonic() < deadline, "the gateway still works for clients that are gone"
            time.sleep(0.05)

    def test_a_client_that_reads_slowly(self, client):
        text = "word " * 20_000
        stream = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], stream=True)
        iterator = iter(stream)
        next(iterator)
        time.sleep(0.5)
        assert text.strip() in text_of(iterator)


def in_flight(base_url):
    """Chat requests under way, by the metrics."""
    text = httpx2.get(f"{base_url}/metrics", timeout=TIMEOUT_SECONDS).text
    values = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("adit_requests_in_flight")]
    assert values, "no gauge of requests in flight"
    return sum(values)


class TestTools:
    def test_the_full_loop(self, client):
        messages = [{"role": "user", "content": "What is the weather in Paris?"}]
        answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER], tool_choice="required")
        choice = answer.choices[0]
        assert choice.finish_reason == "tool_calls"
        call = choice.message.tool_calls[0]
        assert (call.type, call.function.name) == ("function", "get_weather")
        assert isinstance(json.loads(call.function.arguments)["city"], str)
        messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "22 degrees and sunny"}]
        answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
        assert answer.choices[0].finish_reason == "stop"
        assert "22 degrees and sunny" in answer.choices[0].message.content

    def test_the_history_has_tools_and_the_request_has_none(self, client):
        messages = [
            *HELLO,
            {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            {"role": "user", "content": "Thank you"},
        ]
        for more in ({}, {"tools": [WEATHER], "tool_choice": "none"}):
            answer = client.chat.completions.create(model=MODEL, messages=messages, **more)
            assert answer.choices[0].finish_reason == "stop"

    def test_a_named_tool(self, client):
        for choice in (
            {"type": "function", "function": {"name": "get_time"}},
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "get_time"}}]}},
        ):
            answer = client.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER, TIME], tool_choice=choice)
            assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["get_time"]

    def test_tool_choice_none(self, client):
        answer = client.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER], tool_choice="none")
        assert answer.choices[0].message.tool_calls is None
        assert answer.choices[0].finish_reason == "stop"

    def test_names_and_ids_that_bedrock_refuses(self, client):
        name = "my.tool/with:everything " + "x" * 80
        tool = {"type": "function", "function": {"name": name, "parameters": WEATHER["function"]["parameters"]}}
        messages = [{"role": "user", "content": "Go"}]
        answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[tool], tool_choice="required")
        call = answer.choices[0].message.tool_calls[0]
        assert call.function.name == name
        long_id = "id with spaces " + "y" * 100
        messages += [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": long_id, "type": "function", "function": {"name": name, "arguments": call.function.arguments}}],
            },
            {"role": "tool", "tool_call_id": long_id, "content": "done it"},
        ]
        answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[tool])
        assert "done it" in answer.choices[0].message.content

    def test_parallel_tools(self, client):
        messages = list(BOTH)
        answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER, TIME], tool_choice="required")
        calls = answer.choices[0].message.tool_calls
        assert [call.function.name for call in calls] == ["get_weather", "get_time"]
        assert len({call.id for call in calls}) == 2
        messages.append(answer.choices[0].message)
        messages += [{"role": "tool", "tool_call_id": call.id, "content": f"result of {call.function.name}"} for call in calls]
        answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER, TIME])
        assert answer.choices[0].finish_reason == "stop"

    def test_streamed(self, client):
        chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER], tool_choice="required", stream=True))
        well_formed(chunks)
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
        (call,) = calls_of(chunks)
        assert call["name"] == "get_weather" and call["id"]
        assert isinstance(json.loads(call["arguments"])["city"], str)

    def test_streamed_in_parallel(self, client):
        chunks = list(client.chat.completions.create(model=MODEL, messages=BOTH, tools=[WEATHER, TIME], tool_choice="required", stream=True))
        well_formed(chunks)
        calls = calls_of(chunks)
        assert [call["name"] for call in calls] == ["get_weather", "get_time"]
        assert len({call["id"] for call in calls}) == 2
        assert all(isinstance(json.loads(call["arguments"]), dict) for call in calls)

    def test_a_tool_without_parameters(self, client):
        tool = {"type": "function", "function": {"name": "ping", "description": ""}}
        answer = client.chat.completions.create(model=MODEL, messages=HELLO, tools=[tool], tool_choice="required")
        assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments) == {}
        chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, tools=[tool], tool_choice="required", stream=True))
        assert [json.loads(call["arguments"]) for call in calls_of(chunks)] == [{}]

    def test_the_helper_parses_arguments(self, client):
        with client.chat.completions.stream(model=MODEL, messages=HELLO, tools=[openai.pydantic_function_tool(Person)], tool_choice="required") as stream:
            done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        assert isinstance(done[0].parsed_arguments, Person)

    def test_deprecated_functions(self, client):
        messages = [{"role": "user", "content": "Weather?"}]
        answer = client.chat.completions.create(model=MODEL, messages=messages, functions=[WEATHER["function"]], function_call={"name": "get_weather"})
        assert answer.choices[0].finish_reason == "function_call"
        call = answer.choices[0].message.function_call
        assert call.name == "get_weather"
        messages += [
            {"role": "assistant", "content": None, "function_call": {"name": call.name, "arguments": call.arguments}},
            {"role": "function", "name": call.name, "content": "sunny"},
        ]
        answer = client.chat.completions.create(model=MODEL, messages=messages, functions=[WEATHER["function"]])
        assert answer.choices[0].finish_reason == "stop"


class TestStructured:
    MODELS = (MODEL, "us.anthropic.claude-sonnet-4-5-20250929-v1:0")  # one by a forced tool, one natively

    @pytest.mark.parametrize("model", MODELS)
    def test_parse(self, client, model):
        answer = client.chat.completions.parse(model=model, messages=HELLO, response_format=Person)
        assert isinstance(answer.choices[0].message.parsed, Person)
        assert answer.choices[0].finish_reason == "stop"
        assert answer.choices[0].message.tool_calls is None

    @pytest.mark.parametrize("model", MODELS)
    def test_streamed(self, client, model):
        with client.chat.completions.stream(model=model, messages=HELLO, response_format=Person) as stream:
            final = stream.get_final_completion()
        assert isinstance(final.choices[0].message.parsed, Person)
        assert final.choices[0].finish_reason == "stop"

    @pytest.mark.parametrize("model", MODELS)
    def test_json_object(self, client, model):
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "An object as JSON, please"}], response_format={"type": "json_object"}
        )
        assert isinstance(json.loads(answer.choices[0].message.content), dict)

    @pytest.mark.parametrize("model", MODELS)
    def test_beside_tools(self, client, model):
        answer = client.chat.completions.parse(model=model, messages=HELLO, response_format=Person, tools=[openai.pydantic_function_tool(Person, name="save")])
        message = answer.choices[0].message
        assert message.parsed is not None or message.tool_calls


class TestParts:
    @pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/jpg", "application/octet-stream"])
    def test_an_image_whatever_it_is_declared_to_be(self, client, media_type):
        content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": data_url(media_type, png()), "detail": "low"}}]
        answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
        # The stand-in refuses bytes that are not of the format, and says what it got.
        assert f"image png, {len(png())} bytes" in answer.choices[0].message.content

    def test_an_image_alone(self, client):
        content = [{"type": "image_url", "image_url": {"url": data_url("image/png", png())}}]
        answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
        assert "image png" in answer.choices[0].message.content

    def test_documents(self, client):
        file = {"type": "file", "file": {"filename": "My report (final)_v2.pdf", "file_data": data_url("application/pdf", pdf())}}
        for content, count in (([file], 1), ([{"type": "text", "text": "Compare"}, file, file], 2)):
            answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
            assert answer.choices[0].message.content.count(f", {len(pdf())} bytes") == count
            assert answer.choices[0].message.content.count("document pdf") == count

    def test_a_text_file(self, client):
        file = {"type": "file", "file": {"filename": "notes.md", "file_data": data_url("text/markdown", b"# Notes\n")}}
        answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [file]}])
        assert "document md" in answer.choices[0].message.content

    def test_an_uploaded_file_is_refused(self, client):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}])
        assert caught.value.param.startswith("messages[0].content[0]")

    @pytest.mark.parametrize("marker", [{"cache_control": {"type": "ephemeral"}}, {"prompt_cache_breakpoint": {"mode": "explicit"}}])
    def test_cache_markers(self, client, marker):
        system = [{"type": "text", "text": f"Long instructions of {time.time_ns()}", **marker}]
        messages = [{"role": "system", "content": system}, *HELLO]
        first, second = (client.chat.completions.create(model="us.anthropic.claude-sonnet-4-5-20250929-v1:0", messages=messages).usage for _ in range(2))
        written = first.prompt_tokens_details.model_dump()["cache_write_tokens"]
        assert written > 0 and first.prompt_tokens_details.cached_tokens == 0
        assert second.prompt_tokens_details.cached_tokens == written
        # Cached or not, they are tokens of the prompt.
        assert first.prompt_tokens == second.prompt_tokens > written


class TestReasoning:
    MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

    def test_thoughts_come_back_byte_for_byte(self, client):
        messages = list(HELLO)
        for _ in range(2):
            answer = client.chat.completions.create(model=self.MODEL, messages=messages, reasoning_effort="low")
            message = answer.choices[0].message
            assert message.content
            assert message.model_extra["reasoning_content"]
            assert message.model_extra["reasoning_signature"]
            # The stand-in refuses a thought that is not what it wrote.
            messages += [message.model_dump(exclude_none=True), {"role": "user", "content": "Go on"}]

    def test_streamed(self, client):
        chunks = list(client.chat.completions.create(model=self.MODEL, messages=HELLO, reasoning_effort="high", stream=True))
        well_formed(chunks)
        thoughts = "".join((choice.delta.model_extra or {}).get("reasoning_content") or "" for chunk in chunks for choice in chunk.choices)
        assert thoughts and thoughts not in text_of(chunks)

    def test_with_tools(self, client):
        messages = list(HELLO)
        answer = client.chat.completions.create(model=self.MODEL, messages=messages, tools=[WEATHER], tool_choice="required", reasoning_effort="medium")
        message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls or []]
        if not message.tool_calls:
            messages.append({"role": "user", "content": "Go on"})
        assert client.chat.completions.create(model=self.MODEL, messages=messages, tools=[WEATHER], reasoning_effort="medium").choices[0].message.content

    def test_none(self, client):
        answer = client.chat.completions.create(model=self.MODEL, messages=HELLO, reasoning_effort="none")
        assert "reasoning_content" not in (answer.choices[0].message.model_extra or {})


class TestModels:
    def test_list(self, client):
        models = list(client.models.list())
        assert MODEL in [model.id for model in models]
        assert len({model.id for model in models}) == len(models)
        assert all(model.object == "model" and model.owned_by and model.created for model in models)

    async def test_list_async(self, async_client):
        assert MODEL in [model.id async for model in async_client.models.list()]

    def test_retrieve_each(self, client):
        for model in client.models.list():
            assert client.models.retrieve(model.id) == model

    @pytest.mark.parametrize(
        "model", ["anthropic.claude-3-haiku-20240307-v1:0", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdef123456"]
    )
    def test_retrieve_an_id_with_colons_and_slashes(self, client, base_url, model):
        assert client.models.retrieve(model).id == model
        assert httpx2.get(f"{base_url}/v1/models/{model}", timeout=TIMEOUT_SECONDS).json()["id"] == model

    def test_retrieve_unknown(self, client):
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("no-such-model")
        assert caught.value.code == "model_not_found"


class TestErrors:
    def test_an_unknown_model(self, client):
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="no-such-model", messages=HELLO)
        error = caught.value
        assert (error.code, error.param, error.type) == ("model_not_found", "model", "invalid_request_error")
        assert "no-such-model" in error.message

    def test_more_choices_than_there_may_be(self, client):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=MODEL, messages=HELLO, n=129)
        assert (caught.value.param, caught.value.type) == ("n", "invalid_request_error")

    @pytest.mark.parametrize(
        ("exception", "raised", "status", "code"),
        [
            ("ValidationException", openai.BadRequestError, 400, None),
            ("AccessDeniedException", openai.PermissionDeniedError, 403, "access_denied"),
            ("ResourceNotFoundException", openai.NotFoundError, 404, "model_not_found"),
            ("ThrottlingException", openai.RateLimitError, 429, "rate_limit_exceeded"),
            ("ServiceQuotaExceededException", openai.RateLimitError, 429, "rate_limit_exceeded"),
            ("InternalServerException", openai.InternalServerError, 500, None),
            ("ModelErrorException", openai.InternalServerError, 502, "model_error"),
            ("ServiceUnavailableException", openai.InternalServerError, 503, None),
            ("ModelNotReadyException", openai.InternalServerError, 503, "model_not_ready"),
            ("ModelTimeoutException", openai.InternalServerError, 504, "timeout"),
            ("UnrecognizedClientException", openai.InternalServerError, 502, "upstream_error"),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_an_exception_of_bedrock_s(self, client, exception, raised, status, code, stream):
        with pytest.raises(raised) as caught:
            client.chat.completions.create(model=knobs.refuse(exception), messages=HELLO, stream=stream)
        error = caught.value
        assert (error.status_code, error.code) == (status, code)
        assert error.message and "amazonaws" not in error.message
        assert error.request_id

    def test_retry_after_passes(self, client):
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model=knobs.refuse("ThrottlingException", retry_after=7), messages=HELLO)
        assert caught.value.response.headers["retry-after"] == "7"

    @pytest.mark.parametrize("exception", knobs.MID_STREAM)
    def test_an_exception_in_the_stream(self, client, exception):
        chunks = []
        stream = client.chat.completions.create(
            model=knobs.refuse_in_stream(exception), messages=[{"role": "user", "content": "one two three four five six"}], stream=True
        )
        with pytest.raises(openai.APIError) as caught:
            for chunk in stream:
                chunks.append(chunk)
        assert text_of(chunks), "some text came first"
        assert not any(choice.finish_reason for chunk in chunks for choice in chunk.choices)
        assert caught.value.message

    def test_a_stream_that_breaks_off(self, client):
        chunks = []
        with pytest.raises(openai.APIError):
            for chunk in client.chat.completions.create(model=knobs.cut(), messages=[{"role": "user", "content": "one two three four five six"}], stream=True):
                chunks.append(chunk)
        assert text_of(chunks)
        assert not any(choice.finish_reason for chunk in chunks for choice in chunk.choices)

    async def test_an_exception_in_an_async_stream(self, async_client):
        stream = await async_client.chat.completions.create(
            model=knobs.refuse_in_stream(knobs.MID_STREAM[0]), messages=[{"role": "user", "content": "one two three four five six"}], stream=True
        )
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass

    def test_the_sdk_s_own_retries(self, base_url):
        with openai.OpenAI(base_url=f"{base_url}/v1", api_key=KEY, max_retries=1, timeout=TIMEOUT_SECONDS) as client, pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model=knobs.refuse("ServiceUnavailableException"), messages=HELLO)


class TestHeaders:
    def test_every_answer_says_where_it_came_from(self, client):
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, extra_headers={"x-request-id": "sdk-test-1"})
        assert raw.headers["x-request-id"] == "sdk-test-1"
        assert raw.headers["x-adit-provider"] == "bedrock"
        assert raw.headers["x-adit-model"]
        assert raw.headers["x-adit-attempts"] == "1"
        assert "x-adit-dropped" not in raw.headers
        assert raw.headers["content-type"].startswith("application/json")
        assert not [name for name in raw.headers if name.startswith("x-amzn")]

    def test_a_stream_too(self, client):
        with client.chat.completions.with_streaming_response.create(model=MODEL, messages=HELLO, stream=True) as raw:
            assert raw.headers["x-request-id"]
            assert raw.headers["x-adit-provider"] == "bedrock"

    def test_an_error_too(self, client):
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model=knobs.refuse("ThrottlingException"), messages=HELLO)
        headers = caught.value.response.headers
        assert headers["x-request-id"] and headers["x-adit-provider"] == "bedrock" and headers["x-adit-attempts"] == "1"

    def test_request_ids_differ(self, client):
        ids = {client.chat.completions.create(model=MODEL, messages=HELLO)._request_id for _ in range(5)}
        assert len(ids) == 5 and None not in ids

    def test_what_is_dropped_is_named(self, client):
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, seed=7, logit_bias={"5": 1}, user="someone")
        assert {name.strip() for name in raw.headers["x-adit-dropped"].split(",")} == {"seed", "logit_bias", "user"}

    def test_what_the_api_does_not_define_is_carried(self, client):
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, extra_body={"top_k": 5})
        assert "top_k" not in raw.headers.get("x-adit-dropped", "")

    def test_the_provider_by_header(self, client):
        for name in ("bedrock", "aws"):
            raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, extra_headers={"x-provider": name})
            assert raw.headers["x-adit-provider"] == "bedrock"
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model=MODEL, messages=HELLO, extra_headers={"x-provider": "nobody"})
        assert caught.value.status_code in (400, 404)

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions", "/chat/completions"])
    def test_every_path(self, base_url, path):
        answer = httpx2.post(f"{base_url}{path}", json={"model": MODEL, "messages": HELLO}, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 200
