#!/usr/bin/env python3
"""Trims the schema of Anthropic's Messages API to what the sandbox checks Claude's invoke bodies with.

    python3 tests/tools/trim_messages_schema.py messages-2023-06-01.schema.json > src/sandbox/messages/schema.json

The input is the JSON schema of the request types of PyPI anthropic 0.125.0, the last release that types the sampling parameters: `$defs` as pydantic's
`TypeAdapter` writes them. Kept: what `MessageCreateParams` reaches on Bedrock. Left out: members that are no part of an invoke body (`model`, `stream`, and
those that travel as headers), what Bedrock does not have (server tools, containers, files, URLs), and every closed list of model names.
"""

import json
import sys

ROOT = "MessageCreateParamsNonStreaming"
# What a Messages body has and an invoke body has not.
NOT_IN_THE_BODY = {"model", "stream", "user_profile_id", "workspace_id", "container", "inference_geo"}
# What an invoke body has beside them. `context_management` is of a beta, whose types the release does not export.
ADDED = {
    "anthropic_version": {"type": "string"},
    "anthropic_beta": {"type": "array", "items": {"type": "string"}},
    "context_management": {"type": "object", "properties": {"edits": {"type": "array", "items": {"type": "object", "additionalProperties": True}}}},
}
BLOCKS = {"Text", "Image", "Document", "SearchResult", "Thinking", "RedactedThinking", "ToolUse", "ToolResult", "ToolReference"}
TOOLS = {
    "ToolParam", "ToolBash20250124Param", "ToolTextEditor20250124Param", "ToolTextEditor20250429Param", "ToolTextEditor20250728Param",
    "MemoryTool20250818Param", "ToolSearchToolBm25_20251119Param", "ToolSearchToolRegex20251119Param",
}
KEPT = {f"{name}BlockParam" for name in BLOCKS} | TOOLS
SOURCES = {"Base64ImageSourceParam", "Base64PDFSourceParam", "PlainTextSourceParam", "ContentBlockSourceParam"}


def is_there(option):
    """Whether an option of a union exists on Bedrock."""
    name = option.get("$ref", "").rsplit("/", 1)[-1]
    if "Source" in name:
        return name in SOURCES
    if "Block" in name or "Tool" in name and "Choice" not in name:
        return name in KEPT
    return name not in ("ServerToolCallerParam", "ServerToolCaller20260120", "ContainerParams")


def trim(schema):
    if "$ref" in schema:
        return {"$ref": schema["$ref"].rsplit("/", 1)[-1]}
    if "anyOf" in schema:
        # Files by path, and anything that can be read, are conveniences of the SDK.
        options = [trim(option) for option in schema["anyOf"] if option and option.get("format") != "path" and is_there(option)]
        # A union of one tagged object stays one, so that another tag is told as such.
        return options[0] if len(options) == 1 and "$ref" not in options[0] else {"anyOf": options}
    out = {}
    for key in ("type", "const", "enum", "required"):
        if key in schema:
            out[key] = schema[key]
    if schema.get("additionalProperties") is True:
        out["additionalProperties"] = True
    if "properties" in schema:
        out["properties"] = {name: trim(member) for name, member in schema["properties"].items()}
    if "items" in schema:
        out["items"] = trim(schema["items"])
    return out


def reach(schema, defs, out):
    if isinstance(schema, list):
        for item in schema:
            reach(item, defs, out)
    elif isinstance(schema, dict):
        name = schema.get("$ref")
        if isinstance(name, str) and name not in out:
            out[name] = trim(defs[name])
            reach(out[name], defs, out)
        for value in schema.values():
            reach(value, defs, out)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        defs = json.load(file)["$defs"]
    root = trim(defs[ROOT])
    members = {name: member for name, member in root["properties"].items() if name not in NOT_IN_THE_BODY}
    members.update(ADDED)
    root["properties"] = dict(sorted(members.items()))
    root["required"] = ["anthropic_version"] + [name for name in root["required"] if name in members]
    out = {"Body": root}
    reach(root, defs, out)
    origin = (
        "request types of PyPI anthropic 0.125.0 as JSON schema, Copyright 2023 Anthropic, PBC., MIT; trimmed by tests/tools/trim_messages_schema.py"
    )
    rows = [f"  {json.dumps(name)}: {json.dumps(schema)}" for name, schema in sorted(out.items())]
    print("{\n" + f'"origin": {json.dumps(origin)},\n"shapes": {{\n' + ",\n".join(rows) + "\n}\n}")


main()
