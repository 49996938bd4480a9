"""What the stand-ins say, worked out from the request alone: what the Bedrock sandbox says to the same conversation (the table in `src/sandbox/mod.rs`)."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field

# Characters that make one token.
TOKEN = 4
# What an image counts, in characters.
IMAGE = 400
# How deep samples of a schema go.
DEEPEST = 8
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF"}
PLACES = ["city", "location", "place", "country"]


@dataclass
class Question:
    """A request without its dialect. `tools`: name → schema; `choice`: none, auto, any or the name of a tool as a list of one."""

    text: str = ""
    results: list = field(default_factory=list)
    attachments: list = field(default_factory=list)
    system: str = ""
    turns: int = 0
    tools: dict = field(default_factory=dict)
    choice: object = "auto"
    parallel: bool = True
    stops: list = field(default_factory=list)
    most_tokens: int = None
    schema: object = None
    body: bytes = b""


@dataclass
class Said:
    """An answer without its dialect. `calls`: (id, name, input); `stop`: end, stop, length or tool."""

    text: str
    calls: list
    stop: str
    stop_sequence: str = None

    @property
    def tokens(self):
        return max(1, tokens(self.text) + sum(tokens(name + json.dumps(value)) for _, name, value in self.calls))


def tokens(text):
    return -(-len(text) // TOKEN)


def words(text):
    """A text in pieces, as a model would write it."""
    return re.findall(r"\s*\S+\s*$|\s*\S+", text) or ([text] if text else [])


def say(question):
    """The answer to a question."""
    calls = _calls(question)
    if calls:
        names = " and ".join(name for name, _ in calls)
        text = f"I'll call {names}." if question.choice == "auto" else ""
        return Said(text, [(_id(question, index), name, value) for index, (name, value) in enumerate(calls)], "tool")
    text = _text(question)
    stop, sequence = "end", None
    found = sorted((text.find(stop), stop) for stop in question.stops if stop in text)
    if found:
        text, stop, sequence = text[: found[0][0]], "stop", found[0][1]
    if question.most_tokens is not None and tokens(text) > question.most_tokens:
        text, stop, sequence = text[: question.most_tokens * TOKEN], "length", None
    return Said(text, [], stop, sequence)


def _text(question):
    if question.schema is not None:
        return json.dumps(sample(question.schema, question.text), ensure_ascii=False)
    said = "; ".join(question.results) if question.results else f"Echo: {question.text}"
    said += "".join(f" [{attachment}]" for attachment in question.attachments)
    if question.system:
        said += f" (system: {question.system})"
    if "#turns" in question.text:
        said += f" (turns: {question.turns})"
    return said


def _calls(question):
    forced = question.choice == "any" or isinstance(question.choice, list)
    if not question.tools or question.choice == "none" or (question.results and not forced):
        return []
    named = question.choice[0] if isinstance(question.choice, list) else None
    first = named or _asked(question) or (next(iter(question.tools)) if forced else None)
    if first is None:
        return []
    spoken = {word.lower() for word in re.split(r"\W+", question.text)}
    names = [first]
    if not named and question.parallel and len(question.tools) > 1 and spoken & {"both", "all"}:
        names = list(question.tools)[: None if "all" in spoken else 2]
    return [(name, _arguments(question.tools[name], question.text)) for name in names]


def _asked(question):
    """The tool that the text asks for: by name, by a word of its name, or with "use the tool"."""
    text = question.text.lower()
    spoken = set(re.split(r"[^a-z0-9_-]+", text))
    for name in question.tools:
        if name.lower() in spoken:
            return name
    for name in question.tools:
        if any(len(part) > 4 and part in spoken for part in re.split("[_-]", name.lower())):
            return name
    wanted = ("use the tool", "use both tools", "use all tools")
    return next(iter(question.tools)) if any(phrase in text for phrase in wanted) else None


def _arguments(schema, prompt):
    value = sample(schema, prompt)
    return value if isinstance(value, dict) else {}


def _id(question, index):
    return hashlib.sha256(question.body + b"/%d" % index).hexdigest()[:22]


def quote(text, failed=False):
    """What a tool has answered, as a sentence."""
    return f"The tool {'failed' if failed else 'says'}: {text}"


def describe(kind, media_type, data):
    """`image png, 68 bytes`"""
    return f"{kind} {media_type.rpartition('/')[2]}, {len(data)} bytes"


def decode(text):
    """Strict base64; None if it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def is_image(media_type, data):
    """Whether the bytes are of the format that they are said to be."""
    name = media_type.removeprefix("image/")
    return name in MAGIC and data.startswith(MAGIC[name]) and (name != "webp" or data[8:12] == b"WEBP")


def sample(schema, prompt, name="", depth=0, root=None):
    """A value that fits a schema, made from the words of the prompt."""
    root = schema if root is None else root
    while isinstance(schema, dict) and "$ref" in schema and depth < DEEPEST:
        depth += 1
        target = root
        for part in schema["$ref"].lstrip("#/").split("/"):
            target = target.get(part, {}) if part else target
        schema = target
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("enum", "examples"):
        if schema.get(key):
            return schema[key][0]
    if depth >= DEEPEST:
        return None
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return sample(schema[key][0], prompt, name, depth + 1, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object":
        if "properties" not in schema:
            return {"echo": prompt} if schema.get("additionalProperties") is True else {}
        wanted = schema.get("required", list(schema["properties"]))
        return {key: sample(value, prompt, key, depth + 1, root) for key, value in schema["properties"].items() if key in wanted}
    if kind == "array":
        return [sample(schema.get("items", {}), prompt, name, depth + 1, root)] * max(1, schema.get("minItems", 1))
    if kind in ("integer", "number"):
        return min(max(1, schema.get("minimum", 1)), schema.get("maximum", 1))
    return {"boolean": True, "null": None}.get(kind, _word(name, prompt))


def _word(name, prompt):
    """What the prompt has in quotes, or the word behind "in" or "for", or something that fits the name."""
    if quoted := re.search(r'"([^"]+)"', prompt):
        return quoted[1]
    if any(place in name.lower() for place in PLACES):
        found = re.search(r"(?:^|\s)(?:in|for)\s+\W*(\w+)", prompt)
        return found[1] if found else "Paris"
    return "Ada" if "name" in name.lower() else "example"
