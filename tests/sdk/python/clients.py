"""One conversation in every dialect: each class holds the history as its SDK wants it and reads the answers into the same few facts.

All SDKs are as their vendors ship them, pointed at the gateway with keys that nobody behind it knows.
"""

import base64
import json
from dataclasses import dataclass

import anthropic
import boto3
import openai
from botocore.config import Config

from conftest import KEY, TIMEOUT_SECONDS

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {"get_weather": "The weather of a city", "get_time": "The time of day in a city"}
MOST_TOKENS = 500
# Keys that a client signs with and that nobody knows.
AWS_KEY = "AKIDOBVIOUSLYNOTAKEY"
AWS_SECRET = "obviously-not-a-secret"


@dataclass
class Reply:
    """`calls`: (id, name, input). `stop`: end, tool, length or filter. `input` counts what came from a cache too."""

    text: str
    calls: list
    stop: str
    input: int
    output: int

    @property
    def names(self):
        return [name for _, name, _ in self.calls]


class OpenAi:
    """Python `openai`, Chat Completions."""

    STOP = {"stop": "end", "tool_calls": "tool", "length": "length", "content_filter": "filter"}

    def __init__(self, base_url, model, system):
        self.client = openai.OpenAI(base_url=f"{base_url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS)
        self.model = model
        self.messages = [{"role": "system", "content": system}]
        self.tools = [{"type": "function", "function": {"name": name, "description": text, "parameters": CITY}} for name, text in TOOLS.items()]

    def ask(self, text, png=None):
        image = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}}] if png else []
        self.messages.append({"role": "user", "content": [{"type": "text", "text": text}, *image] if image else text})

    def tell(self, results):
        self.messages += [{"role": "tool", "tool_call_id": id, "content": text} for id, text in results]

    def send(self, stream):
        request = {"model": self.model, "messages": self.messages, "tools": self.tools, "max_tokens": MOST_TOKENS}
        if stream:
            with self.client.chat.completions.stream(**request, stream_options={"include_usage": True}) as events:
                for _ in events:
                    pass
                answer = events.get_final_completion()
        else:
            answer = self.client.chat.completions.create(**request)
        choice = answer.choices[0]
        calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or []]
        message = {"role": "assistant", "content": choice.message.content}
        if calls:
            message["tool_calls"] = [call.model_dump(include={"id": True, "type": True, "function": {"name", "arguments"}}) for call in choice.message.tool_calls]
        self.messages.append(message)
        usage = answer.usage
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        return Reply(choice.message.content or "", calls, self.STOP[choice.finish_reason], usage.prompt_tokens, usage.completion_tokens)


class Responses:
    """Python `openai`, Responses: the client keeps the items, and sends them back as they came."""

    def __init__(self, base_url, model, system):
        self.client = openai.OpenAI(base_url=f"{base_url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS)
        self.model, self.system, self.items = model, system, []
        self.tools = [{"type": "function", "name": name, "description": text, "parameters": CITY, "strict": False} for name, text in TOOLS.items()]

    def ask(self, text, png=None):
        image = [{"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}] if png else []
        self.items.append({"role": "user", "content": [{"type": "input_text", "text": text}, *image] if image else text})

    def tell(self, results):
        self.items += [{"type": "function_call_output", "call_id": id, "output": text} for id, text in results]

    def request(self):
        return {"model": self.model, "instructions": self.system, "tools": self.tools, "max_output_tokens": MOST_TOKENS, "store": False, "input": self.items}

    def keep(self, answer):
        self.items += [item.model_dump(exclude_none=True) for item in answer.output]

    def send(self, stream):
        if stream:
            with self.client.responses.stream(**self.request()) as events:
                numbers = [event.sequence_number for event in events]
                answer = events.get_final_response()
            assert numbers == list(range(len(numbers)))
        else:
            answer = self.client.responses.create(**self.request())
        calls = [(item.call_id, item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
        self.keep(answer)
        stop = {"max_output_tokens": "length", "content_filter": "filter"}[answer.incomplete_details.reason] if answer.status == "incomplete" else "end"
        usage = answer.usage
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens
        return Reply(answer.output_text, calls, "tool" if calls else stop, usage.input_tokens, usage.output_tokens)


class Anthropic:
    """Python `anthropic`, Messages."""

    STOP = {"end_turn": "end", "tool_use": "tool", "max_tokens": "length", "refusal": "filter"}

    def __init__(self, base_url, model, system):
        self.client = self.connect(base_url)
        self.model, self.system, self.messages = model, system, []
        self.tools = [{"name": name, "description": text, "input_schema": CITY} for name, text in TOOLS.items()]

    def connect(self, base_url):
        return anthropic.Anthropic(base_url=base_url, api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS)

    def ask(self, text, png=None):
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png).decode()} if png else None
        image = [{"type": "image", "source": source}] if png else []
        self.messages.append({"role": "user", "content": [{"type": "text", "text": text}, *image]})

    def tell(self, results):
        self.messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": text} for id, text in results]})

    def request(self):
        return {"system": self.system, "messages": self.messages, "tools": self.tools, "max_tokens": MOST_TOKENS}

    def send(self, stream):
        if stream:
            with self.client.messages.stream(model=self.model, **self.request()) as events:
                answer = events.get_final_message()
        else:
            answer = self.client.messages.create(model=self.model, **self.request())
        return self.read(answer.model_dump(mode="json", exclude_unset=True, exclude_none=True))

    def read(self, answer):
        content = answer["content"]
        # The stream helper adds what its parser found.
        content = [{key: value for key, value in block.items() if key not in ("parsed_output",)} for block in content]
        self.messages.append({"role": "assistant", "content": content})
        text = "".join(block["text"] for block in content if block["type"] == "text")
        calls = [(block["id"], block["name"], block["input"]) for block in content if block["type"] == "tool_use"]
        usage = answer["usage"]
        cached = usage.get("cache_read_input_tokens", 0) + usage.get("cache_creation_input_tokens", 0)
        return Reply(text, calls, self.STOP[answer["stop_reason"]], usage["input_tokens"] + cached, usage["output_tokens"])


class AnthropicBedrock(Anthropic):
    """Python `anthropic`, its Bedrock client: InvokeModel, signed."""

    def connect(self, base_url):
        return anthropic.AnthropicBedrock(
            base_url=base_url, aws_access_key=AWS_KEY, aws_secret_key=AWS_SECRET, aws_region="us-east-1", max_retries=0, timeout=TIMEOUT_SECONDS
        )


def bedrock(base_url, **more):
    """A boto3 client of the gateway that does not retry."""
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=base_url,
        aws_access_key_id=AWS_KEY,
        aws_secret_access_key=AWS_SECRET,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=TIMEOUT_SECONDS, **more),
    )


class Invoke(Anthropic):
    """boto3, InvokeModel with a Messages body."""

    def connect(self, base_url):
        return bedrock(base_url)

    def request(self):
        return {"anthropic_version": "bedrock-2023-05-31", **super().request()}

    def send(self, stream):
        body = json.dumps(self.request())
        if not stream:
            return self.read(json.loads(self.client.invoke_model(modelId=self.model, body=body)["body"].read()))
        events = self.client.invoke_model_with_response_stream(modelId=self.model, body=body)["body"]
        return self.read(put_together([json.loads(event["chunk"]["bytes"]) for event in events]))


class Converse:
    """boto3, Converse."""

    STOP = {"end_turn": "end", "tool_use": "tool", "max_tokens": "length", "content_filtered": "filter"}

    def __init__(self, base_url, model, system):
        self.client = bedrock(base_url)
        tools = [{"toolSpec": {"name": name, "description": text, "inputSchema": {"json": CITY}}} for name, text in TOOLS.items()]
        self.messages = []
        self.more = {"modelId": model, "system": [{"text": system}], "toolConfig": {"tools": tools}, "inferenceConfig": {"maxTokens": MOST_TOKENS}}

    def ask(self, text, png=None):
        image = [{"image": {"format": "png", "source": {"bytes": png}}}] if png else []
        self.messages.append({"role": "user", "content": [{"text": text}, *image]})

    def tell(self, results):
        self.messages.append({"role": "user", "content": [{"toolResult": {"toolUseId": id, "content": [{"text": text}]}} for id, text in results]})

    def send(self, stream):
        if stream:
            answer = converse_answer(list(self.client.converse_stream(messages=self.messages, **self.more)["stream"]))
        else:
            answer = self.client.converse(messages=self.messages, **self.more)
        message = answer["output"]["message"]
        self.messages.append(message)
        text = "".join(block["text"] for block in message["content"] if "text" in block)
        calls = [(call["toolUseId"], call["name"], call["input"]) for call in (block["toolUse"] for block in message["content"] if "toolUse" in block)]
        usage = answer["usage"]
        read = usage["inputTokens"] + usage.get("cacheReadInputTokens", 0) + usage.get("cacheWriteInputTokens", 0)
        assert usage["totalTokens"] == read + usage["outputTokens"]
        assert answer["metrics"]["latencyMs"] >= 0
        return Reply(text, calls, self.STOP[answer["stopReason"]], read, usage["outputTokens"])


CLIENTS = {"openai": OpenAi, "responses": Responses, "anthropic": Anthropic, "anthropic-bedrock": AnthropicBedrock, "converse": Converse, "invoke": Invoke}


def put_together(events):
    """A message from the events of a Messages stream, whose order is checked."""
    assert [events[0]["type"], events[-2]["type"], events[-1]["type"]] == ["message_start", "message_delta", "message_stop"]
    message, parts, open_block = events[0]["message"], [], None
    for event in events[1:-2]:
        match event["type"]:
            case "content_block_start":
                assert open_block is None and event["index"] == len(message["content"])
                open_block, parts = event["content_block"], []
                message["content"].append(open_block)
            case "content_block_delta":
                assert event["index"] == len(message["content"]) - 1
                delta = event["delta"]
                if delta["type"] == "text_delta":
                    open_block["text"] += delta["text"]
                elif delta["type"] == "input_json_delta":
                    parts.append(delta["partial_json"])
            case "content_block_stop":
                if open_block["type"] == "tool_use":
                    open_block["input"] = json.loads("".join(parts) or "{}")
                open_block = None
            case other:
                assert other == "ping", event
    assert open_block is None
    message |= events[-2]["delta"]
    message["usage"] |= {name: value for name, value in events[-2]["usage"].items() if value is not None}
    return message


def converse_answer(events):
    """A Converse answer from the events of its stream, whose order is checked."""
    names = [name for event in events for name in event]
    assert names[0] == "messageStart" and names[-2:] == ["messageStop", "metadata"]
    blocks, fragments = {}, {}
    for event in events:
        if "contentBlockStart" in event:
            start = event["contentBlockStart"]
            blocks[start["contentBlockIndex"]] = {"toolUse": dict(start["start"]["toolUse"])}
            fragments[start["contentBlockIndex"]] = ""
        if "contentBlockDelta" in event:
            index, delta = event["contentBlockDelta"]["contentBlockIndex"], event["contentBlockDelta"]["delta"]
            if "text" in delta:
                blocks.setdefault(index, {"text": ""})["text"] += delta["text"]
            if "toolUse" in delta:
                fragments[index] += delta["toolUse"]["input"]
    for index, fragment in fragments.items():
        blocks[index]["toolUse"]["input"] = json.loads(fragment or "{}")
    assert names.count("contentBlockStop") == len(blocks)
    stop, metadata = events[-2]["messageStop"], events[-1]["metadata"]
    message = {"role": events[0]["messageStart"]["role"], "content": [blocks[index] for index in sorted(blocks)]}
    return {"output": {"message": message}, "stopReason": stop["stopReason"], "usage": metadata["usage"], "metrics": metadata["metrics"]}
