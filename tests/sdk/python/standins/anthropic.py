"""Anthropic's Messages, its token count and its model list."""

import hashlib
import json

from . import anthropic_rules as rules
from . import schema
from .answer import IMAGE, Question, decode, describe, quote, say, tokens, words
from .server import Answer, Refusal, StandIn, knobs_of, only_credential, refuse_by_knob

MODELS = ["claude-sonnet-4-5-20250929", "claude-3-5-haiku-20241022", "claude-opus-4-8"]
# What Vertex puts into the body, and the API version that it stands for.
VERTEX_VERSIONS = {"vertex-2023-10-16": "2023-06-01", "2026-10-21": "2026-10-21"}
STOP = {"end": "end_turn", "stop": "stop_sequence", "length": "max_tokens", "tool": "tool_use"}
ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
REQUEST_ID = "req_standin0001"


class Anthropic(StandIn):
    """`/v1/messages`, with the key in `x-api-key` or as a bearer token, never in both."""

    KEY = "sk-ant-standin-own-key"
    own_headers = {"request-id": REQUEST_ID, "anthropic-ratelimit-requests-remaining": "41"}

    def __init__(self):
        super().__init__()
        self.cache = Cache()

    def respond(self, request):
        if request.all("x-api-key"):
            only_credential(request, "x-api-key", self.KEY)
        else:
            only_credential(request, "authorization", f"Bearer {self.KEY}")
        version = request.header("anthropic-version")
        if version not in schema.ANTHROPIC_VERSIONS:
            raise Refusal(400, f"anthropic-version: expected one of {schema.ANTHROPIC_VERSIONS}, found {version!r}")
        match (request.method, request.segments):
            case ("POST", ["v1", "messages"]):
                return messages(request, _body(request), version, self.cache)
            case ("POST", ["v1", "messages", "count_tokens"]):
                return count_tokens(_body(request), version)
            case ("GET", ["v1", "models"]):
                return Answer(body={"data": [_model(name) for name in MODELS], "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})
            case ("GET", ["v1", "models", name]) if name in MODELS:
                return Answer(body=_model(name))
        raise Refusal(404, f"Not found: {request.path}")

    def render(self, request, refusal):
        return error(refusal)


class Cache:
    """Prefixes of prompts that were sent before: the first request with one writes it, the next reads it."""

    def __init__(self):
        self.known = set()

    def usage(self, body):
        """Input tokens, apart by what the cache has to do with them."""
        blocks = [*body.get("tools", []), *rules.blocks(body.get("system", ""))]
        blocks += [block for message in body["messages"] for block in rules.blocks(message["content"])]
        total = read = written = 0
        ttls = {"5m": 0, "1h": 0}
        prefix = hashlib.sha256(body["model"].encode())
        for block in blocks:
            total += _weigh(block)
            prefix.update(json.dumps({key: value for key, value in block.items() if key != "cache_control"}, sort_keys=True).encode())
            if marker := block.get("cache_control"):
                key = prefix.hexdigest()
                if key in self.known:
                    read, written, ttls = total, 0, {"5m": 0, "1h": 0}
                else:
                    ttls[marker.get("ttl", "5m")] += total - read - written
                    written = total - read
                self.known.add(key)
        return {
            "input_tokens": max(0, total - read - written),
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "cache_creation": {"ephemeral_5m_input_tokens": ttls["5m"], "ephemeral_1h_input_tokens": ttls["1h"]},
        }


def error(refusal):
    """An error in Anthropic's form."""
    kind = ERRORS.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": refusal.message}, "request_id": REQUEST_ID}


def _body(request):
    body = request.json()
    if not isinstance(body.get("model"), str):
        raise Refusal(400, "model: Field required", param="model")
    return body


def messages(request, body, version, cache):
    """An answer to Messages; the model may have knobs."""
    body["model"], knobs = knobs_of(body["model"])
    name = "MessageCreateParamsStreaming" if body.get("stream") else "MessageCreateParamsNonStreaming"
    validated = {key: value for key, value in body.items() if key != "stream" or value}
    schema.check(schema.anthropic(version, name, lax="lax" in knobs), validated)
    rules.check(body)
    refuse_by_knob(knobs)
    asked = question(body, request.body)
    said = say(asked)
    blocks = _thoughts(body, asked) + ([{"type": "text", "text": said.text}] if said.text else [])
    blocks += [{"type": "tool_use", "id": f"toolu_{id}", "name": name, "input": value} for id, name, value in said.calls]
    usage = {**cache.usage(body), "output_tokens": said.tokens + sum(tokens(block.get("thinking", "")) for block in blocks), "service_tier": "standard"}
    message = {
        "model": body["model"],
        "id": "msg_standin0001",
        "type": "message",
        "role": "assistant",
        "content": blocks,
        "stop_reason": STOP[said.stop],
        "stop_sequence": said.stop_sequence,
        "usage": usage,
    }
    if not body.get("stream"):
        return Answer(body=message, knobs=knobs)
    events = list(_events(message))
    content = [at for at, event in enumerate(events) if event["type"] == "content_block_delta"]
    failure = _frame({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": REQUEST_ID})
    return Answer(frames=[_frame(event) for event in events], content=content, failure=failure, knobs=knobs)


def count_tokens(body, version):
    body["model"], knobs = knobs_of(body["model"])
    schema.check(schema.anthropic(version, "MessageCountTokensParams", lax="lax" in knobs), body)
    rules.check({**body, "max_tokens": 1_000_000})
    refuse_by_knob(knobs)
    usage = Cache().usage(body)
    return Answer(body={"input_tokens": usage["input_tokens"] + usage["cache_creation_input_tokens"]}, knobs=knobs)


def question(body, raw):
    """What is asked, without the dialect."""
    asked = Question(body=raw, most_tokens=body["max_tokens"], stops=body.get("stop_sequences", []))
    asked.system = " ".join(block["text"] for block in rules.blocks(body.get("system", "")))
    turns = rules.turns(body["messages"])
    asked.turns = len(turns)
    last = next((blocks for role, blocks in reversed(turns) if role == "user"), [])
    for block in last:
        if block["type"] == "text":
            asked.text += block["text"]
        elif block["type"] == "tool_result":
            parts = [part["text"] if part["type"] == "text" else f"[{_attachment(part)}]" for part in rules.blocks(block.get("content") or "")]
            asked.results.append(quote(" ".join(parts), failed=block.get("is_error", False)))
        elif block["type"] in ("image", "document"):
            asked.attachments.append(_attachment(block))
    asked.tools = {tool["name"]: tool["input_schema"] for tool in body.get("tools", []) if "input_schema" in tool}
    choice = body.get("tool_choice", {"type": "auto"})
    asked.choice = [choice["name"]] if choice["type"] == "tool" else choice["type"]
    asked.parallel = not choice.get("disable_parallel_tool_use")
    asked.schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    return asked


def _attachment(block):
    source = block.get("source", {})
    name = f' "{block["title"]}"' if block.get("title") else ""
    if source.get("type") == "base64":
        return describe(block["type"], source["media_type"] + name, decode(source["data"]))
    return describe(block["type"], source.get("media_type", source.get("type", block["type"])) + name, source.get("data", "").encode())


def _thoughts(body, asked):
    if body.get("thinking", {}).get("type") not in ("enabled", "adaptive"):
        return []
    omitted = body["thinking"].get("display") == "omitted"
    thinking = "" if omitted else f"The user says: {asked.text[:60]}. I should answer."
    return [{"type": "thinking", "thinking": thinking, "signature": rules.signature(thinking)}]


def _weigh(block):
    if block.get("type") in ("image", "document"):
        return IMAGE // 4
    return tokens(block["text"]) if block.get("type") == "text" else tokens(json.dumps({key: value for key, value in block.items() if key != "cache_control"}))


def _events(message):
    usage = message["usage"]
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}}
    for index, block in enumerate(message["content"]):
        start, deltas = _block(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        if index == 0:
            yield {"type": "ping"}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    totals = {name: value for name, value in usage.items() if name not in ("cache_creation", "service_tier")}
    yield {"type": "message_delta", "delta": {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}, "usage": totals}
    yield {"type": "message_stop"}


def _block(block):
    """How a block begins, and its pieces."""
    match block["type"]:
        case "text":
            return {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in words(block["text"])]
        case "thinking":
            pieces = [{"type": "thinking_delta", "thinking": piece} for piece in words(block["thinking"])]
            return {"type": "thinking", "thinking": "", "signature": ""}, [*pieces, {"type": "signature_delta", "signature": block["signature"]}]
        case "tool_use":
            arguments = json.dumps(block["input"])
            pieces = ["", *(arguments[at : at + 8] for at in range(0, len(arguments), 8))]
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _frame(event):
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def _model(name):
    return {"type": "model", "id": name, "display_name": name, "created_at": "2025-09-29T00:00:00Z", "lifecycle": "active"}
