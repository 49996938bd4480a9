"""`n` choices of models that give one: several requests, one answer."""

import openai
import pytest

from conftest import KEY, TIMEOUT_SECONDS
from knobs import refuse, refuse_in_stream
from test_openai import BOTH, HELLO, TIME, WEATHER

pytestmark = pytest.mark.usefixtures("content")

# OpenAI's own give several by themselves; for the others the gateway asks several times.
NATIVE = ["m-openai", "m-azure", "m-vertex-gemini"]
FANNED_OUT = ["m-bedrock-claude", "m-bedrock-nova", "m-anthropic", "m-vertex-claude"]
MORE = {"max_tokens": 100}


@pytest.fixture
def client(adit):
    with openai.OpenAI(base_url=f"{adit}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.mark.parametrize("model", [*NATIVE, *FANNED_OUT])
def test_whole(client, model):
    one = client.chat.completions.create(model=model, messages=HELLO, **MORE)
    three = client.chat.completions.create(model=model, messages=HELLO, n=3, **MORE)
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert [choice.message.content for choice in three.choices] == [one.choices[0].message.content] * 3
    assert {choice.finish_reason for choice in three.choices} == {"stop"}
    asked = 1 if model in NATIVE else 3
    assert three.usage.prompt_tokens == one.usage.prompt_tokens * asked
    assert three.usage.completion_tokens == one.usage.completion_tokens * 3
    assert three.usage.total_tokens == three.usage.prompt_tokens + three.usage.completion_tokens


@pytest.mark.parametrize("model", [*NATIVE, *FANNED_OUT])
def test_streamed(client, model):
    whole = client.chat.completions.create(model=model, messages=HELLO, n=3, **MORE)
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, n=3, stream=True, stream_options={"include_usage": True}, **MORE))
    assert len({chunk.id for chunk in chunks}) == 1
    choices = [choice for chunk in chunks for choice in chunk.choices]
    # The SDK's helper puts choices into a list as they come: the first must be the first.
    assert list(dict.fromkeys(choice.index for choice in choices)) == [0, 1, 2]
    for index in range(3):
        own = [choice for choice in choices if choice.index == index]
        assert "".join(choice.delta.content or "" for choice in own) == whole.choices[index].message.content
        assert [choice.delta.role for choice in own if choice.delta.role] == ["assistant"] and own[0].delta.role
        assert [choice.finish_reason for choice in own if choice.finish_reason] == ["stop"] and own[-1].finish_reason
    assert [chunk for chunk in chunks if chunk.usage] == [chunks[-1]] and chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


@pytest.mark.parametrize("model", FANNED_OUT)
def test_tool_calls_are_counted_in_each_choice(client, model):
    request = {"model": model, "messages": BOTH, "tools": [WEATHER, TIME], "tool_choice": "required", "n": 2, **MORE}
    answer = client.chat.completions.create(**request)
    assert [[call.function.name for call in choice.message.tool_calls] for choice in answer.choices] == [["get_weather", "get_time"]] * 2
    with client.chat.completions.stream(**request) as stream:
        final = stream.get_final_completion()
    assert [[call.function.name for call in choice.message.tool_calls] for choice in final.choices] == [["get_weather", "get_time"]] * 2


@pytest.mark.parametrize("model", [refuse("ThrottlingException"), "m-anthropic.error-429"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_one_error(client, model, stream):
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model=model, messages=HELLO, n=3, stream=stream, **MORE)


@pytest.mark.parametrize("model", [refuse_in_stream("throttlingException"), "m-anthropic.error-midstream"])
def test_an_error_in_the_stream_ends_it(client, model):
    text = [{"role": "user", "content": "one two three four five six"}]
    chunks = []
    with pytest.raises(openai.APIError):
        for chunk in client.chat.completions.create(model=model, messages=text, n=3, stream=True, **MORE):
            chunks.append(chunk)
    assert {choice.finish_reason for chunk in chunks for choice in chunk.choices} <= {None}


@pytest.mark.parametrize("n", [0, 129])
def test_too_few_and_too_many(client, n):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="m-bedrock-claude", messages=HELLO, n=n)
    assert caught.value.param == "n"


def test_where_there_is_no_n(client, backends):
    answer = client.chat.completions.with_raw_response.create(model="m-anthropic", messages=HELLO, n=2, **MORE)
    assert "n" not in answer.headers.get("x-adit-dropped", "").split(",")
    assert len(backends.anthropic.wait()) == 2
