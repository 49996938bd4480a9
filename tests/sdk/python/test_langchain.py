"""LangChain's ChatOpenAI, unchanged."""

import asyncio

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from conftest import KEY, MODEL, TIMEOUT_SECONDS


class Movie(BaseModel):
    """A film."""

    title: str = Field(description="The title")
    year: int = Field(description="The year it came out")


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@pytest.fixture
def llm(base_url):
    return ChatOpenAI(model=MODEL, base_url=f"{base_url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS)


def test_invoke(llm):
    answer = llm.invoke([SystemMessage("Be brief."), HumanMessage("Hello, LangChain")])
    assert isinstance(answer, AIMessage)
    assert "Hello, LangChain" in answer.content
    assert answer.usage_metadata["total_tokens"] == answer.usage_metadata["input_tokens"] + answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == MODEL


def test_stream(llm):
    chunks = list(llm.stream("Hello, LangChain"))
    assert len(chunks) > 3
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert "Hello, LangChain" in whole.content
    assert whole.response_metadata["finish_reason"] == "stop"


def test_stream_with_usage(base_url):
    llm = ChatOpenAI(model=MODEL, base_url=f"{base_url}/v1", api_key=KEY, max_retries=0, stream_usage=True)
    whole = None
    for chunk in llm.stream("Hello"):
        whole = chunk if whole is None else whole + chunk
    assert whole.usage_metadata["output_tokens"] > 0


async def test_astream(llm):
    text = ""
    async for chunk in llm.astream("Hello, LangChain"):
        text += chunk.content
    assert "Hello, LangChain" in text


def test_a_tool_loop(llm):
    messages = [HumanMessage("What is the weather in Paris?")]
    answer = llm.bind_tools([get_weather], tool_choice="any").invoke(messages)
    (call,) = answer.tool_calls
    assert call["name"] == "get_weather" and isinstance(call["args"]["city"], str)
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    answer = llm.bind_tools([get_weather]).invoke([*messages, answer, result])
    assert "sunny in" in answer.content


def test_streamed_tool_calls(llm):
    whole = None
    for chunk in llm.bind_tools([get_weather], tool_choice="get_weather").stream("Weather in Paris?"):
        whole = chunk if whole is None else whole + chunk
    (call,) = whole.tool_calls
    assert call["name"] == "get_weather" and isinstance(call["args"]["city"], str)
    assert not whole.invalid_tool_calls


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(llm, method):
    movie = llm.with_structured_output(Movie, method=method).invoke("A film, please")
    assert isinstance(movie, Movie)


async def test_a_batch(llm):
    answers = await llm.abatch([f"number {number}" for number in range(10)])
    assert all(f"number {number}" in answer.content for number, answer in enumerate(answers))
    answers = await asyncio.gather(*(llm.ainvoke(f"more {number}") for number in range(10)))
    assert all(f"more {number}" in answer.content for number, answer in enumerate(answers))
