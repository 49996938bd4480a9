"""OpenAI's Chat Completions, Embeddings and model list, and the same on Azure."""

import base64
import hashlib
import json
import math
import re
import struct

from . import openai_rules as rules
from . import schema
from .answer import Question, decode, describe, quote, say, tokens, words
from .server import Answer, Refusal, StandIn, knobs_of, only_credential, refuse_by_knob

CREATED = 1_790_000_000
FINISH = {"end": "stop", "stop": "stop", "length": "length", "tool": "tool_calls"}
# Dimensions by default; models that are not here are no embedding models.
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
MODELS = ["gpt-4.1-mini", "gpt-4.1-nano", "gpt-5-mini", *DIMENSIONS]


class OpenAi(StandIn):
    """`/v1/…` with a bearer key; with `KEY = None` it is a server on somebody's own machine, which knows no keys and runs any model."""

    KEY = "sk-standin-openai-own-key"
    own_headers = {"openai-version": "2020-10-01", "x-ratelimit-remaining-requests": "41"}

    def respond(self, request):
        if self.KEY is None:
            only_credential(request, None, None)
        else:
            only_credential(request, "authorization", f"Bearer {self.KEY}")
        match (request.method, request.segments):
            case ("GET", ["v1", "models"]):
                return Answer(body={"object": "list", "data": [_model(name) for name in MODELS]})
            case ("GET", ["v1", "models", name]) if name in MODELS:
                return Answer(body=_model(name))
            case ("POST", ["v1", *operation]):
                return serve(request, "/".join(operation), known=MODELS if self.KEY else None)
        raise Refusal(404, f"Invalid URL ({request.method} {request.path})")

    def render(self, request, refusal):
        return error(refusal)


class Azure(StandIn):
    """`/openai/deployments/{deployment}/…?api-version=` and `/openai/v1/…`, both with an `api-key`."""

    KEY = "azure-standin-own-key"
    own_headers = {"apim-request-id": "00000000-0000-4000-8000-000000000000"}

    def respond(self, request):
        only_credential(request, "api-key", self.KEY)
        match (request.method, request.segments):
            case ("GET", ["openai", "v1", "models"]):
                return Answer(body={"object": "list", "data": [_model(name) for name in MODELS]})
            case ("POST", ["openai", "v1", *operation]):
                return serve(request, "/".join(operation), filtered=True)
            case ("POST", ["openai", "deployments", deployment, *operation]):
                if not re.fullmatch(r"20\d\d-\d\d-\d\d(-preview)?", request.parameters.get("api-version", "")):
                    raise Refusal(404, "Resource not found: no api-version")
                return serve(request, "/".join(operation), deployment=deployment, filtered=True)
        raise Refusal(404, "Resource not found")

    def render(self, request, refusal):
        return {"error": {"code": str(refusal.status), "message": refusal.message}}


def error(refusal):
    """An error in OpenAI's form."""
    kind = {429: "rate_limit_error"}.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error")
    code = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}.get(refusal.status)
    return {"error": {"message": refusal.message, "type": kind, "param": refusal.param, "code": code}}


def serve(request, operation, deployment=None, filtered=False, known=None):
    """One of the two operations. `filtered`: Azure's word on what its content filter thought. `known`: the only models."""
    body = request.json()
    if deployment is not None:
        # The path decides; a model in the body is ignored.
        body["model"] = deployment
    if not isinstance(body.get("model"), str):
        raise Refusal(400, "you must provide a model parameter", param="model")
    body["model"], knobs = knobs_of(body["model"])
    if known is not None and body["model"] not in known:
        # Whoever asks a provider for what it may not have makes no mistake.
        raise Refusal(404, f"The model `{body['model']}` does not exist or you do not have access to it.", param="model", expected=True)
    if operation == "chat/completions":
        return chat(request, body, knobs, filtered)
    if operation == "embeddings":
        return embeddings(body, knobs)
    raise Refusal(404, f"Invalid URL (POST {request.path})")


def chat(request, body, knobs, filtered=False):
    schema.check(schema.openai("CreateChatCompletionRequest", lax="lax" in knobs), body)
    rules.check(body)
    refuse_by_knob(knobs)
    asked = question(body, request.body)
    said = say(asked)
    usage = _usage(body, said)
    if not body.get("stream"):
        return Answer(body=_whole(body, said, usage, filtered), knobs=knobs)
    with_usage = (body.get("stream_options") or {}).get("include_usage")
    frames, content = [], []
    for is_content, chunk in _chunks(body, said, usage if with_usage else None, filtered):
        if is_content:
            content.append(len(frames))
        frames.append(_event(chunk))
    frames.append(b"data: [DONE]\n\n")
    failure = _event({"error": {"message": "The server had an error while processing your request", "type": "server_error", "param": None, "code": None}})
    return Answer(frames=frames, content=content, failure=failure, knobs=knobs)


def question(body, raw):
    """What is asked, without the dialect."""
    asked = Question(body=raw, parallel=body.get("parallel_tool_calls") is not False, most_tokens=body.get("max_completion_tokens", body.get("max_tokens")))
    messages = body["messages"]
    asked.system = " ".join(_texts(message) for message in messages if message["role"] in ("system", "developer"))
    spoken = [message for message in messages if message["role"] not in ("system", "developer")]
    sides = [message["role"] == "assistant" for message in spoken]
    asked.turns = sum(1 for at, side in enumerate(sides) if at == 0 or sides[at - 1] != side)
    end = len(spoken) - 1 - next((back for back, side in enumerate(reversed(sides)) if not side), 0)
    start = next((at + 1 for at in range(end, -1, -1) if sides[at]), 0)
    for message in spoken[start : end + 1]:
        if message["role"] == "user":
            asked.text += _texts(message)
            asked.attachments += [_attachment(part) for part in _parts(message) if part["type"] != "text"]
        else:
            asked.results.append(quote(_texts(message)))
    for tool in body.get("tools", []):
        if tool["type"] == "function":
            asked.tools[tool["function"]["name"]] = tool["function"].get("parameters") or {"type": "object", "properties": {}}
    asked.choice = _choice(body.get("tool_choice", "auto"))
    stop = body.get("stop") or []
    asked.stops = [stop] if isinstance(stop, str) else stop
    response_format = body.get("response_format") or {}
    if response_format.get("type") == "json_schema":
        asked.schema = response_format["json_schema"]["schema"]
    if response_format.get("type") == "json_object":
        asked.schema = {"type": "object", "additionalProperties": True}
    return asked


def _choice(choice):
    if isinstance(choice, str):
        return {"required": "any"}.get(choice, choice)
    return [choice["function"]["name"]] if choice["type"] == "function" else {"required": "any"}.get(choice["allowed_tools"]["mode"], "auto")


def _parts(message):
    content = message.get("content") or []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _texts(message):
    return "".join(part["text"] for part in _parts(message) if part["type"] == "text")


def _attachment(part):
    if part["type"] == "image_url":
        media_type, data = rules.data_url(part["image_url"]["url"]) or ("image/url", b"")
        return describe("image", media_type, data)
    if part["type"] == "file":
        media_type, data = rules.data_url(part["file"]["file_data"])
        return describe("document", media_type, data)
    return describe("audio", part["input_audio"]["format"], decode(part["input_audio"]["data"]) or b"")


def _usage(body, said):
    prompt = tokens(json.dumps(body["messages"]) + json.dumps(body.get("tools", [])))
    completion = said.tokens * (body.get("n") or 1)
    reasoning = 5 if body.get("reasoning_effort") not in (None, "none") else 0
    # A long prompt is said to be cached in part, so that sums can be checked.
    cached = 16 if prompt >= 1024 else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion + reasoning,
        "total_tokens": prompt + completion + reasoning,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    }


def _head(body, kind):
    more = {"service_tier": "default", "system_fingerprint": "fp_standin"}
    return {"id": "chatcmpl-standin0001", "object": kind, "created": CREATED, "model": body["model"], **more}


def _filters():
    return {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}


def _whole(body, said, usage, filtered):
    calls = [{"id": f"call_{id}", "type": "function", "function": {"name": name, "arguments": json.dumps(value)}} for id, name, value in said.calls]
    message = {"role": "assistant", "content": said.text or None, "refusal": None, "annotations": []}
    if calls:
        message["tool_calls"] = calls
    choices = [{"index": index, "message": message, "logprobs": None, "finish_reason": FINISH[said.stop]} for index in range(body.get("n") or 1)]
    whole = {**_head(body, "chat.completion"), "choices": choices, "usage": usage}
    if filtered:
        whole["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": _filters()}]
        whole["choices"] = [{**choice, "content_filter_results": _filters()} for choice in choices]
    return whole


def _chunks(body, said, usage, filtered):
    """(is content, chunk) for each chunk; choices take turns, as OpenAI's do."""
    head = _head(body, "chat.completion.chunk")
    more = {} if usage is None else {"usage": None}
    if filtered:
        yield False, {**head, "choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _filters()}], **more}
    deltas = [{"role": "assistant", "content": "" if said.text or not said.calls else None, "refusal": None}]
    deltas += [{"content": piece} for piece in words(said.text)]
    for index, (id, name, value) in enumerate(said.calls):
        deltas.append({"tool_calls": [{"index": index, "id": f"call_{id}", "type": "function", "function": {"name": name, "arguments": ""}}]})
        arguments = json.dumps(value)
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + 8]}}]} for at in range(0, len(arguments), 8)]
    for at, delta in enumerate(deltas):
        for index in range(body.get("n") or 1):
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
            yield at > 0, {**head, "choices": [choice], **more, "obfuscation": "x" * (at % 5)}
    for index in range(body.get("n") or 1):
        yield False, {**head, "choices": [{"index": index, "delta": {}, "logprobs": None, "finish_reason": FINISH[said.stop]}], **more}
    if usage is not None:
        yield False, {**head, "choices": [], "usage": usage}


def _event(chunk):
    return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _model(name):
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "stand-in"}


def embeddings(body, knobs):
    schema.check(schema.openai("CreateEmbeddingRequest", lax="lax" in knobs), body)
    refuse_by_knob(knobs)
    if body["model"] not in DIMENSIONS:
        raise Refusal(403, f"You are not allowed to generate embeddings from this model: {body['model']}")
    if "dimensions" in body and (body["model"].endswith("ada-002") or body["dimensions"] > DIMENSIONS[body["model"]]):
        raise Refusal(400, "This model does not support specifying dimensions.", param="dimensions")
    inputs = body["input"]
    inputs = [inputs] if isinstance(inputs, str) or isinstance(inputs[0], int) else inputs
    if "" in inputs:
        raise Refusal(400, "'$.input' is invalid: an empty string", param="input")
    data = []
    for index, one in enumerate(inputs):
        vector = embed(one, body.get("dimensions", DIMENSIONS[body["model"]]))
        packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": packed if body.get("encoding_format") == "base64" else vector})
    count = sum(len(one) if isinstance(one, list) else tokens(one) for one in inputs)
    return Answer(body={"object": "list", "data": data, "model": body["model"], "usage": {"prompt_tokens": count, "total_tokens": count}}, knobs=knobs)


def embed(one, dimensions):
    """The same text or tokens always give the same vector of length 1; each number is one that float32 holds."""
    seed = json.dumps(one).encode()
    digits = b"".join(hashlib.sha256(seed + b"%d" % at).digest() for at in range(-(-dimensions // 32)))[:dimensions]
    raw = [digit - 127.5 for digit in digits]
    length = math.sqrt(sum(number * number for number in raw))
    return list(struct.unpack(f"<{dimensions}f", struct.pack(f"<{dimensions}f", *(number / length for number in raw))))
