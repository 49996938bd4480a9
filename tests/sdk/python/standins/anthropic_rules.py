"""What Anthropic refuses without saying so in its schema."""

import hashlib
import re

from .answer import decode, is_image
from .server import Refusal

ID = re.compile(r"[a-zA-Z0-9_-]+")
NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
MOST_CACHE_POINTS = 4
LEAST_BUDGET = 1024
# One of temperature and top_p, not both.
ONE_SAMPLING = re.compile(r"claude-(opus|sonnet|haiku)-4-[1-9]")
# The assistant's turn cannot be begun for them.
NO_PREFILL = re.compile(r"claude-(opus|sonnet|haiku)-4-[6-9]|claude-(opus|sonnet|fable)-5")
# These take neither sampling parameters nor a budget.
ADAPTIVE = re.compile(r"claude-opus-4-[7-9]|claude-(opus|sonnet|fable)-5")


def check(body):
    """Refuses what breaks a rule."""
    _members(body)
    _tools(body)
    _cache_points(body)
    for at, message in enumerate(body["messages"]):
        _message(message, f"messages.{at}", last=at == len(body["messages"]) - 1)
    conversation = turns(body["messages"])
    if not conversation or conversation[0][0] != "user":
        _refuse("the first message must use the user role", "messages")
    _pairs(conversation)
    _thinking(body, conversation)
    _prefill(body, conversation)


def signature(thinking):
    """What a thought is signed with."""
    return hashlib.sha256(b"stand-in" + thinking.encode()).hexdigest()


def blocks(content):
    """Content as blocks."""
    return ([{"type": "text", "text": content}] if content else []) if isinstance(content, str) else content


def turns(messages):
    """(role, blocks), neighbours of one role being one turn."""
    joined = []
    for message in messages:
        if joined and joined[-1][0] == message["role"]:
            joined[-1][1].extend(blocks(message["content"]))
        else:
            joined.append((message["role"], list(blocks(message["content"]))))
    return joined


def _refuse(message, param=None):
    raise Refusal(400, f"{param}: {message}" if param else message, param=param)


def _members(body):
    if body["max_tokens"] < 0:
        _refuse("Input should be greater than or equal to 0", "max_tokens")
    for name in ("temperature", "top_p"):
        if name in body and not 0 <= body[name] <= 1:
            _refuse("range: 0..1", name)
    model = body["model"]
    if ADAPTIVE.match(model) and {"temperature", "top_p", "top_k"} & set(body):
        _refuse("sampling parameters are not supported for this model", "temperature")
    if ONE_SAMPLING.match(model) and "temperature" in body and "top_p" in body:
        _refuse("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    for stop in body.get("stop_sequences", []):
        if not stop.strip():
            _refuse("each stop sequence must contain non-whitespace", "stop_sequences")
    for at, block in enumerate(blocks(body.get("system", ""))):
        _text(block, f"system.{at}")


def _tools(body):
    tools = body.get("tools", [])
    names = [tool["name"] for tool in tools if "name" in tool]
    if len(names) != len(set(names)):
        _refuse("Tool names must be unique.", "tools")
    for at, tool in enumerate(tools):
        if "input_schema" not in tool:
            continue
        if not NAME.fullmatch(tool["name"]):
            _refuse(f"String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$': {tool['name']!r}", f"tools.{at}.name")
        if tool["input_schema"].get("type") != "object":
            _refuse("Field required: type object", f"tools.{at}.input_schema")
    choice = body.get("tool_choice", {"type": "auto"})
    if "tool_choice" in body and not tools:
        _refuse("may only be specified while providing `tools`", "tool_choice")
    if choice["type"] == "tool" and choice["name"] not in names:
        _refuse(f"Tool '{choice['name']}' not found in provided tools", "tool_choice")


def _cache_points(body):
    found = [marked["cache_control"] for marked in _marked(body)]
    if len(found) > MOST_CACHE_POINTS:
        _refuse(f"A maximum of {MOST_CACHE_POINTS} blocks with cache_control may be provided. Found {len(found)}.")
    ttls = [point.get("ttl", "5m") for point in found]
    if "5m" in ttls and "1h" in ttls[ttls.index("5m") :]:
        _refuse("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")


def _marked(body):
    top = [body] if body.get("cache_control") else []
    content = [block for message in body["messages"] for block in blocks(message["content"])]
    nested = [part for block in content if block["type"] == "tool_result" for part in blocks(block.get("content") or "")]
    return [one for one in [*body.get("tools", []), *blocks(body.get("system", "")), *content, *nested, *top] if one.get("cache_control")]


def _message(message, where, last):
    role, content = message["role"], blocks(message["content"])
    if not content and not (last and role == "assistant"):
        _refuse("all messages must have non-empty content except for the optional final assistant message", where)
    allowed = {
        "user": {"text", "image", "document", "search_result", "tool_result", "container_upload"},
        "assistant": {"text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "web_search_tool_result", "search_result"},
        "system": {"text"},
    }[role]
    for at, block in enumerate(content):
        place = f"{where}.content.{at}"
        if block["type"] not in allowed:
            _refuse(f"`{block['type']}` blocks can not be in `{role}` messages", place)
        _block(block, place)


def _block(block, where):
    match block["type"]:
        case "text":
            _text(block, where)
        case "image" | "document":
            _source(block, where)
        case "tool_use":
            if not ID.fullmatch(block["id"]):
                _refuse(f"String should match pattern '^[a-zA-Z0-9_-]+$': {block['id']!r}", f"{where}.id")
            if not NAME.fullmatch(block["name"]):
                _refuse(f"not a tool's name: {block['name']!r}", f"{where}.name")
        case "tool_result":
            for at, part in enumerate(blocks(block.get("content") or "")):
                _block(part, f"{where}.content.{at}")
        case "thinking":
            if block["signature"] != signature(block["thinking"]):
                _refuse("Invalid `signature` in `thinking` block", where)


def _text(block, where):
    if not block["text"]:
        _refuse("text content blocks must be non-empty", where)
    if not block["text"].strip():
        _refuse("text content blocks must contain non-whitespace text", where)
    if block.get("cache_control") and not block["text"]:
        _refuse("cache_control cannot be set for empty text blocks", where)


def _source(block, where):
    source = block["source"]
    if source["type"] != "base64":
        return
    data = decode(source["data"])
    if not data:
        _refuse("invalid base64 data", f"{where}.source")
    if block["type"] == "image" and not is_image(source["media_type"], data):
        _refuse(f"Image does not match the provided media type {source['media_type']}", f"{where}.source")
    if block["type"] == "document" and not data.startswith(b"%PDF"):
        _refuse("The PDF specified was not valid.", f"{where}.source")


def _pairs(conversation):
    """Each tool_use is answered in the very next turn, once, and before anything else there."""
    seen, open_calls = set(), []
    for at, (role, content) in enumerate(conversation):
        results = [block["tool_use_id"] for block in content if block["type"] == "tool_result"]
        if role == "user" and [block["type"] for block in content[: len(results)]] != ["tool_result"] * len(results):
            _refuse("`tool_result` blocks must come first in the turn", f"turn {at}")
        if len(results) != len(set(results)):
            _refuse("each tool_use must have a single result", f"turn {at}")
        if strangers := set(results) - set(open_calls):
            _refuse(f"unexpected `tool_use_id` found in `tool_result` blocks: {sorted(strangers)}", f"turn {at}")
        if missing := set(open_calls) - set(results):
            _refuse(f"`tool_use` ids were found without `tool_result` blocks immediately after: {sorted(missing)}", f"turn {at - 1}")
        open_calls = [block["id"] for block in content if block["type"] == "tool_use"]
        if len(open_calls) != len(set(open_calls)) or seen & set(open_calls):
            _refuse("`tool_use` ids must be unique", f"turn {at}")
        seen |= set(open_calls)
    if open_calls:
        _refuse(f"`tool_use` ids were found without `tool_result` blocks immediately after: {open_calls}", "the last turn")


def _thinking(body, conversation):
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] == "enabled":
        if ADAPTIVE.match(body["model"]):
            _refuse('"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive"', "thinking")
        if thinking["budget_tokens"] < LEAST_BUDGET:
            _refuse(f"Input should be greater than or equal to {LEAST_BUDGET}", "thinking.enabled.budget_tokens")
        if thinking["budget_tokens"] >= body["max_tokens"]:
            _refuse("`max_tokens` must be greater than `thinking.budget_tokens`", "max_tokens")
    if thinking["type"] not in ("enabled", "adaptive"):
        return
    if body.get("temperature", 1) != 1 or "top_k" in body or body.get("top_p", 1) < 0.95:
        _refuse("sampling parameters may not be set when thinking is enabled", "temperature")
    if body.get("tool_choice", {"type": "auto"})["type"] not in ("auto", "none"):
        _refuse("Thinking may not be enabled when tool_choice forces tool use.", "tool_choice")
    # The turn that the results belong to is still going on, and it began with a thought.
    for role, content in conversation[-2:-1]:
        goes_on = any(block["type"] == "tool_result" for block in conversation[-1][1])
        if thinking["type"] == "enabled" and goes_on and role == "assistant" and content[0]["type"] not in ("thinking", "redacted_thinking"):
            _refuse(f"Expected `thinking` or `redacted_thinking`, but found `{content[0]['type']}`", "the last assistant turn")


def _prefill(body, conversation):
    role, content = conversation[-1]
    if role != "assistant":
        return
    if body.get("thinking", {}).get("type") == "enabled":
        _refuse("the final block must not be the assistant's when thinking is enabled", "messages")
    if NO_PREFILL.match(body["model"]):
        _refuse("This model does not support assistant message prefill. The conversation must end with a user message.", "messages")
    if content and content[-1]["type"] == "text" and content[-1]["text"] != content[-1]["text"].rstrip():
        _refuse("final assistant content cannot end with trailing whitespace", "messages")
