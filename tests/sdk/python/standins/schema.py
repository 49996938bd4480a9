"""The vendors' published schemas as validators that also refuse what is not in them."""

import copy
import functools
import json
from pathlib import Path

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from .server import Refusal

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
ANTHROPIC_VERSIONS = ["2023-06-01", "2026-10-21"]
# In the SDK's types, but sent as headers.
NOT_IN_THE_BODY = ["workspace_id", "user_profile_id"]


def check(validator, body):
    """Refuses a body with what is wrong with it, and where."""
    errors = list(validator.iter_errors(body))
    if errors:
        # Where a part fails, the whole has "unevaluated" members too, and that says nothing.
        error = _pointed(best_match([error for error in errors if error.validator != "unevaluatedProperties"] or errors))
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
        raise Refusal(400, f"{where or 'the body'}: {error.message[:500]}", param=where or None)


def _pointed(error):
    """Of a union, what is wrong with the one option that was meant: that of the same type, `type` and `role`."""
    while error.context:
        options = {}
        for one in error.context:
            options.setdefault(one.relative_schema_path[0], []).append(one)
        meant = [errors for errors in options.values() if not any(_another_kind(one) for one in errors)]
        if len(meant) != 1:
            break
        error = meant[0][0]
    return error


def _another_kind(error):
    path = list(error.relative_path)
    return (error.validator == "type" and not path) or (error.validator in ("enum", "const") and path in (["type"], ["role"]))


@functools.cache
def openai(name, lax=False):
    """A schema of OpenAI's OpenAPI document."""
    schemas = json.loads((FIXTURES / "openai" / "openapi-chat-embeddings.json").read_text())["components"]["schemas"]
    # What is part of another schema must let the rest of it pass.
    parts = {part["$ref"].rsplit("/", 1)[1] for schema in schemas.values() for part in schema.get("allOf", []) if "$ref" in part}
    schemas = {key: _plain(schema) if lax else _closed(_plain(schema), open=key in parts) for key, schema in schemas.items()}
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}})


@functools.cache
def anthropic(version, name, lax=False):
    """A schema of Anthropic's, by API version."""
    definitions = copy.deepcopy(json.loads((FIXTURES / "anthropic" / f"messages-{version}.schema.json").read_text())["$defs"])
    # The SDK's types let its own answers be sent back; the API has names for what it takes.
    for key, definition in definitions.items():
        if key.endswith("MessageParam") and "anyOf" in (content := definition["properties"]["content"]["anyOf"][1]["items"]):
            content["anyOf"] = [option for option in content["anyOf"] if option["$ref"].endswith("Param")]
    for root in ("MessageCreateParamsNonStreaming", "MessageCreateParamsStreaming", "MessageCountTokensParams"):
        for member in NOT_IN_THE_BODY:
            definitions[root]["properties"].pop(member, None)
    if not lax:
        definitions = {key: _closed(schema) for key, schema in definitions.items()}
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})


def _plain(schema):
    """OpenAPI's `nullable`, which JSON Schema does not know, as a type."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if key not in ("nullable", "discriminator", "default", "example")}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain


def _closed(schema, open=False):
    """Objects with named members have no others, unless the schema says so."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: ([_closed(part, open=True) for part in value] if key == "allOf" else _closed(value)) for key, value in schema.items()}
    named = isinstance(schema.get("properties"), dict) or "allOf" in schema
    if named and not open and "additionalProperties" not in schema:
        closed["unevaluatedProperties"] = False
    return closed
