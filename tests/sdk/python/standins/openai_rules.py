"""What OpenAI refuses without saying so in its schema."""

import json
import re

from .answer import decode, is_image
from .server import Refusal

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
LONGEST_CALL_ID = 40
MOST_TOOLS = 128
REASONS = re.compile(r"(o\d|gpt-5)")


def check(body):
    """Refuses what breaks a rule."""
    _members(body)
    for at, tool in enumerate(body.get("tools", [])):
        if tool["type"] == "function":
            _function(tool["function"], f"tools[{at}].function")
    _messages(body["messages"])


def _refuse(message, param=None):
    raise Refusal(400, f"{param}: {message}" if param else message, param=param)


def _members(body):
    tools = body.get("tools")
    if tools is not None and not 1 <= len(tools) <= MOST_TOOLS:
        _refuse(f"expected 1 to {MOST_TOOLS} tools, found {len(tools)}", "tools")
    for member in ("tool_choice", "parallel_tool_calls"):
        if tools is None and member in body:
            _refuse("only allowed when 'tools' are specified", member)
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice["type"] == "function":
        if choice["function"]["name"] not in [tool["function"]["name"] for tool in tools if tool["type"] == "function"]:
            _refuse("names a tool that is not there", "tool_choice")
    if body.get("stream_options") is not None and not body.get("stream"):
        _refuse("only allowed when 'stream' is enabled", "stream_options")
    if isinstance(body.get("stop"), list) and not 1 <= len(body["stop"]) <= 4:
        _refuse("expected 1 to 4 sequences", "stop")
    if "" in ([body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or []):
        _refuse("an empty sequence", "stop")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        _refuse("cannot be set beside max_completion_tokens", "max_tokens")
    for member in ("max_tokens", "max_completion_tokens"):
        if (body.get(member) or 1) < 1 or body.get(member) == 0:
            _refuse("integer below minimum value", member)
    if REASONS.match(body["model"]):
        for member in ("max_tokens", "stop", "temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias"):
            if body.get(member) not in (None, 1):
                _refuse("not supported with this model", member)
    elif body.get("reasoning_effort") is not None:
        _refuse("unrecognized request argument", "reasoning_effort")
    _response_format(body)


def _response_format(body):
    response_format = body.get("response_format") or {}
    if response_format.get("type") == "json_object" and "json" not in json.dumps(body["messages"]).lower():
        _refuse("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'", "messages")
    if response_format.get("type") == "json_schema":
        wanted = response_format["json_schema"]
        if not NAME.fullmatch(wanted["name"]):
            _refuse("not a name", "response_format.json_schema.name")
        if wanted.get("strict"):
            _strict(wanted["schema"], "response_format.json_schema.schema")


def _function(function, where):
    if not NAME.fullmatch(function["name"]):
        _refuse("does not match '^[a-zA-Z0-9_-]+$' or is too long", f"{where}.name")
    parameters = function.get("parameters")
    if parameters is not None and parameters.get("type") != "object":
        _refuse("schema must be of type object", f"{where}.parameters")
    if function.get("strict"):
        _strict(parameters or {}, f"{where}.parameters")


def _strict(schema, where):
    """Strict schemas name every member, require all of them and allow no others."""
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            _refuse("'additionalProperties' is required to be supplied and to be false", where)
        if sorted(schema.get("required", [])) != sorted(schema.get("properties", {})):
            _refuse("'required' is required to be an array including every key in properties", where)
    for name, part in schema.get("properties", {}).items():
        _strict(part, f"{where}.{name}")
    for key in ("items", "additionalProperties"):
        _strict(schema.get(key), f"{where}.{key}")
    for part in [*schema.get("anyOf", []), *schema.get("$defs", {}).values()]:
        _strict(part, where)


def _messages(messages):
    open_calls = []
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        role = message["role"]
        if role == "tool":
            if message["tool_call_id"] not in open_calls:
                _refuse("messages with role 'tool' must be a response to a preceding message with 'tool_calls', once", f"{where}.tool_call_id")
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            _refuse(f"an assistant message with 'tool_calls' must be followed by tool messages responding to each: {open_calls} did not", where)
        if role == "assistant":
            open_calls = _assistant(message, where)
        if role == "user" and isinstance(message["content"], list):
            for index, part in enumerate(message["content"]):
                _part(part, f"{where}.content[{index}]")
    if open_calls:
        _refuse(f"the last calls have no answer: {open_calls}", "messages")


def _assistant(message, where):
    calls = message.get("tool_calls")
    if calls == []:
        _refuse("[] is too short", f"{where}.tool_calls")
    if not message.get("content") and not calls and not message.get("function_call") and not message.get("refusal"):
        # An empty text is one; nothing at all is not.
        if message.get("content") is None:
            _refuse("expected content or tool_calls", f"{where}.content")
    for call in calls or []:
        if not 1 <= len(call["id"]) <= LONGEST_CALL_ID:
            _refuse(f"expected a string of 1 to {LONGEST_CALL_ID} characters, found {len(call['id'])}", f"{where}.tool_calls.id")
        if call["type"] == "function":
            _call(call["function"], f"{where}.tool_calls.function")
    ids = [call["id"] for call in calls or []]
    if len(ids) != len(set(ids)):
        _refuse("duplicate ids", f"{where}.tool_calls")
    return ids


def _call(function, where):
    if not NAME.fullmatch(function["name"]):
        _refuse("does not match '^[a-zA-Z0-9_-]+$' or is too long", f"{where}.name")
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        _refuse(f"not a JSON object: {function['arguments']!r}", f"{where}.arguments")


def data_url(url):
    """Media type and bytes; None if it is none."""
    found = re.fullmatch(r"data:([\w.+-]+/[\w.+-]+);base64,(.+)", url, re.DOTALL)
    data = decode(found[2]) if found else None
    return None if data is None else (found[1], data)


def _part(part, where):
    if part["type"] == "image_url":
        url = part["image_url"]["url"]
        found = data_url(url)
        if found is None and not re.match(r"(https?|gs)://", url):
            _refuse("neither a URL nor a data URL", f"{where}.image_url.url")
        if found is not None and not is_image(*found):
            _refuse(f"the bytes are not {found[0]}", f"{where}.image_url.url")
    if part["type"] == "file":
        file = part["file"]
        if data_url(file.get("file_data", "")) is None or not file.get("filename"):
            _refuse("expected a filename, and file_data as a data URL", f"{where}.file")
