"""The official `openai` package's Responses, unchanged, over Bedrock's stand-in and the other providers'. Whole conversations are in `test_matrix.py`."""

import json

import openai
import pytest
from pydantic import BaseModel

import knobs
from conftest import KEY, MODEL, TIMEOUT_SECONDS
from test_openai import data_url, pdf, png

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    "strict": True,
}
# One model for each API that a provider may speak.
OVER = ["m-bedrock-claude", "m-bedrock-nova", "m-openai", "m-azure", "m-anthropic", "m-vertex-claude"]


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture(scope="module")
def over(adit):
    """A client of the gateway in front of everybody."""
    with openai.OpenAI(base_url=f"{adit}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS) as client:
        yield client


def refused(call, status=400):
    """The error of a call that must fail."""
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    assert caught.value.status_code == status
    return caught.value


@pytest.mark.parametrize("model", OVER)
class TestEverywhere:
    def test_a_text(self, over, model):
        answer = over.responses.create(model=model, input="Hello, Adit", instructions="Be brief.", metadata={"a": "b"})
        assert answer.output_text == "Echo: Hello, Adit (system: Be brief.)"
        assert (answer.object, answer.status, answer.model, answer.error) == ("response", "completed", model, None)
        assert answer.id.startswith("resp_") and answer.output[0].id.startswith("msg_")
        assert (answer.instructions, answer.metadata, answer.tools) == ("Be brief.", {"a": "b"}, [])
        assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0

    def test_a_stream(self, over, model):
        events = list(over.responses.create(model=model, input="Hello, Adit", stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert [event.type for event in events[:4]] == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
        ends = ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"]
        assert [event.type for event in events[-4:]] == ends
        deltas = [event for event in events if event.type == "response.output_text.delta"]
        assert len(deltas) > 1
        assert "".join(event.delta for event in deltas) == events[-1].response.output_text == "Echo: Hello, Adit"
        assert len({event.item_id for event in deltas}) == 1

    def test_parse(self, over, model):
        answer = over.responses.parse(model=model, input="Tell me of Ada", text_format=Person)
        assert isinstance(answer.output_parsed, Person)

    def test_a_tool_loop_with_the_stream_helper(self, over, model):
        items = [{"role": "user", "content": "What is the weather in Paris?"}]
        with over.responses.stream(model=model, input=items, tools=[WEATHER]) as events:
            kinds = [event.type for event in events]
            answer = events.get_final_response()
        assert "response.function_call_arguments.delta" in kinds and "response.function_call_arguments.done" in kinds
        (call,) = [item for item in answer.output if item.type == "function_call"]
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
        items += [*answer.output, {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
        told = over.responses.create(model=model, input=items, tools=[WEATHER])
        assert told.output_text == "The tool says: sunny"

    def test_a_forced_tool(self, over, model):
        answer = over.responses.create(model=model, input="Paris", tools=[WEATHER], tool_choice={"type": "function", "name": "get_weather"})
        assert [item.name for item in answer.output if item.type == "function_call"] == ["get_weather"]

    def test_a_conversation_that_is_kept(self, over, model):
        first = over.responses.create(model=model, input="One", instructions="Be brief.")
        assert first.store is True
        with over.responses.stream(model=model, input="Two #turns", previous_response_id=first.id) as events:
            second = events.get_final_response()
        # What came and went before arrived; instructions are not carried over.
        assert second.output_text == "Echo: Two #turns (turns: 3)"
        assert second.previous_response_id == first.id
        third = over.responses.create(model=model, input="Three #turns", previous_response_id=second.id)
        assert third.output_text == "Echo: Three #turns (turns: 5)"
        assert over.responses.retrieve(first.id) == first
        assert over.responses.retrieve(second.id).output_text == second.output_text
        texts = [item.content[0].text for item in over.responses.input_items.list(third.id, order="asc", limit=2)]
        assert texts == ["One", first.output_text, "Two #turns", second.output_text, "Three #turns"]

    def test_a_tool_loop_that_is_kept(self, over, model):
        asked = over.responses.create(model=model, input="What is the weather in Paris?", tools=[WEATHER])
        (call,) = [item for item in asked.output if item.type == "function_call"]
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        told = over.responses.create(model=model, input=[result], tools=[WEATHER], previous_response_id=asked.id)
        assert told.output_text == "The tool says: sunny"

    def test_background_is_refused_clearly(self, over, model):
        error = refused(lambda: over.responses.create(model=model, input="x", background=True))
        assert (error.param, error.type) == ("background", "invalid_request_error")
        assert "wait for the answer or stream it" in error.message

    def test_hosted_tools_are_refused_by_name(self, over, model):
        error = refused(lambda: over.responses.create(model=model, input="x", tools=[{"type": "web_search"}]))
        assert error.param == "tools[0].type" and "web_search" in error.message


class TestKept:
    MODEL = "m-bedrock-claude"

    def test_one_may_begin_on_one_model_and_go_on_with_others(self, over):
        previous = None
        for turn, model in enumerate(OVER):
            answer = over.responses.create(model=model, input=f"{turn} #turns", previous_response_id=previous)
            assert answer.output_text == f"Echo: {turn} #turns (turns: {2 * turn + 1})"
            previous = answer.id

    def test_thoughts_are_kept_with_their_seal(self, over):
        request = {"model": self.MODEL, "tools": [WEATHER], "reasoning": {"effort": "low"}}
        asked = over.responses.create(input="What is the weather in Paris?", **request)
        assert asked.output[0].type == "reasoning"
        result = {"type": "function_call_output", "call_id": asked.output[-1].call_id, "output": "sunny"}
        # The stand-in refuses a turn of tools without the thought before it, and a thought that is not what it wrote.
        assert over.responses.create(input=[result], previous_response_id=asked.id, **request).output_text == "The tool says: sunny"

    def test_deleted(self, over):
        answer = over.responses.create(model=self.MODEL, input="One")
        over.responses.delete(answer.id)
        for call in [over.responses.retrieve, over.responses.delete]:
            assert refused(lambda: call(answer.id), 404).type == "invalid_request_error"
        assert refused(lambda: over.responses.create(model=self.MODEL, input="x", previous_response_id=answer.id)).param == "previous_response_id"

    def test_not_stored(self, over):
        answer = over.responses.create(model=self.MODEL, input="One", store=False)
        assert answer.store is False
        refused(lambda: over.responses.retrieve(answer.id), 404)

    def test_items_by_their_names(self, over):
        answer = over.responses.create(model=self.MODEL, input="One")
        items = [{"type": "item_reference", "id": answer.output[0].id}, {"role": "user", "content": "Two #turns"}]
        assert over.responses.create(model=self.MODEL, input=[{"role": "user", "content": "One"}, *items]).output_text == "Echo: Two #turns (turns: 3)"

    def test_it_outlives_the_process(self, backends):
        gateway = backends.gateway()
        with gateway as running:
            client = openai.OpenAI(base_url=f"{running.base_url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS)
            first = client.responses.create(model=self.MODEL, input="One")
        with gateway as running:
            client = openai.OpenAI(base_url=f"{running.base_url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS)
            assert client.responses.retrieve(first.id) == first
            again = client.responses.create(model=self.MODEL, input="Two #turns", previous_response_id=first.id)
            assert again.output_text == "Echo: Two #turns (turns: 3)"


class TestBedrock:
    def test_images_and_files(self, client):
        content = [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "detail": "auto", "image_url": data_url("image/png", png())},
            {"type": "input_file", "filename": "a.pdf", "file_data": data_url("application/pdf", pdf())},
        ]
        answer = client.responses.create(model=MODEL, input=[{"role": "user", "content": content}])
        assert answer.output_text == f'Echo: What is this? [image png, {len(png())} bytes] [document pdf "a", {len(pdf())} bytes]'

    def test_a_custom_tool(self, client):
        tool = {"type": "custom", "name": "run_script", "description": "Runs a script"}
        items = [{"role": "user", "content": "Use the tool run_script"}]
        events = list(client.responses.create(model=MODEL, input=items, tools=[tool], stream=True))
        kinds = [event.type for event in events]
        assert "response.custom_tool_call_input.delta" in kinds and "response.function_call_arguments.delta" not in kinds
        answer = events[-1].response
        (call,) = [item for item in answer.output if item.type == "custom_tool_call"]
        whole = client.responses.create(model=MODEL, input=items, tools=[tool])
        assert [item.input for item in whole.output if item.type == "custom_tool_call"] == [call.input]
        output = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "done"}
        told = client.responses.create(model=MODEL, input=[*items, *answer.output, output], tools=[tool])
        assert told.output_text == "The tool says: done"

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    @pytest.mark.parametrize("summary", [None, "auto"])
    def test_thoughts_come_back_with_their_seal(self, client, stream, summary):
        model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
        items = [{"role": "user", "content": "What is the weather in Paris?"}]
        request = {"model": model, "tools": [WEATHER], "reasoning": {"effort": "low", "summary": summary}, "include": ["reasoning.encrypted_content"]}
        if stream:
            with client.responses.stream(input=items, **request) as events:
                kinds = [event.type for event in events]
                answer = events.get_final_response()
            assert ("response.reasoning_summary_text.delta" if summary else "response.reasoning_text.delta") in kinds
        else:
            answer = client.responses.create(input=items, **request)
        thought, call = answer.output[0], answer.output[-1]
        assert thought.type == "reasoning" and thought.encrypted_content
        shown = thought.summary if summary else thought.content
        assert shown[0].text
        # The stand-in refuses a seal that it did not issue for this thought; the sealed text alone is enough.
        bare = {"type": "reasoning", "id": thought.id, "summary": [], "encrypted_content": thought.encrypted_content}
        for kept in [thought, bare]:
            back = [*items, kept, *answer.output[1:], {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
            assert client.responses.create(input=back, **request).output_text == "The tool says: sunny"

    def test_an_answer_that_is_cut_off(self, client):
        for stream in [False, True]:
            answer = client.responses.create(model=knobs.words(50), input="x", max_output_tokens=16, stream=stream)
            if stream:
                *_, last = answer
                assert last.type == "response.incomplete"
                answer = last.response
            assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
            assert answer.output[-1].status == "incomplete" and answer.output_text

    @pytest.mark.parametrize("exception", knobs.MID_STREAM)
    def test_a_failure_in_the_stream(self, client, exception):
        events = list(client.responses.create(model=knobs.refuse_in_stream(exception), input="x", stream=True))
        assert events[-1].type == "response.failed"
        answer = events[-1].response
        code = {"throttlingException": "rate_limit_exceeded", "validationException": "invalid_prompt"}.get(exception, "server_error")
        assert (answer.status, answer.error.code) == ("failed", code)
        assert answer.output_text and answer.error.message

    def test_a_failure_before_the_stream(self, client):
        error = refused(lambda: list(client.responses.create(model=knobs.refuse("ThrottlingException", 7), input="x", stream=True)), 429)
        assert error.response.headers["retry-after"] == "7"

    def test_what_was_left_out_is_told(self, client):
        raw = client.responses.with_raw_response.create(model=MODEL, input="x", truncation="auto", prompt_cache_key="k")
        assert raw.headers["x-adit-dropped"] == "truncation, prompt_cache_key"

    def test_tokens_are_counted(self, client):
        count = client.responses.input_tokens.count(model=MODEL, input="Hello, Adit", instructions="Be brief.")
        used = client.responses.create(model=MODEL, input="Hello, Adit", instructions="Be brief.")
        assert (count.object, count.input_tokens) == ("response.input_tokens", used.usage.input_tokens)
