"""Vertex AI: Gemini through its OpenAI-compatible endpoint, Claude through rawPredict, embeddings through predict. Tokens are the token server's."""

from . import anthropic, openai
from .answer import tokens
from .server import Answer, Refusal, StandIn, knobs_of, only_credential, refuse_by_knob

STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
# What OpenAI has and the endpoint has not.
NOT_IN_GEMINI = ["parallel_tool_calls", "logit_bias", "metadata", "prediction", "service_tier", "store", "user", "safety_identifier", "prompt_cache_key"]
LOCATION = "us-east5"


class Vertex(StandIn):
    """Everything below `/v1/projects/{project}/locations/{location}/`."""

    def __init__(self, oauth):
        super().__init__()
        self.oauth = oauth
        self.cache = anthropic.Cache()

    def respond(self, request):
        token = request.header("authorization") or ""
        if not self.oauth.accepts(token):
            raise Refusal(401, "Request had invalid authentication credentials.")
        only_credential(request, "authorization", token)
        match (request.method, request.segments):
            case ("POST", ["v1", "projects", project, "locations", location, *rest]) if (project, location) == (self.oauth.PROJECT, LOCATION):
                return self._serve(request, rest)
        raise Refusal(404, f"not found: {request.method} {request.path}")

    def _serve(self, request, rest):
        match rest:
            case ["endpoints", "openapi", "chat", "completions"]:
                body = request.json()
                if not body.get("model", "").startswith("google/"):
                    raise Refusal(400, f"model: expected google/…, found {body.get('model')!r}")
                if unknown := [name for name in NOT_IN_GEMINI if name in body]:
                    raise Refusal(400, f"Invalid JSON payload received. Unknown names: {unknown}")
                return openai.serve(request, "chat/completions")
            case ["publishers", "anthropic", "models", "count-tokens:rawPredict"]:
                body = request.json()
                return anthropic.count_tokens(body, self._version(body))
            case ["publishers", "anthropic", "models", call] if call.rpartition(":")[2] in ("rawPredict", "streamRawPredict"):
                return self._claude(request, *call.rsplit(":", 1))
            case ["publishers", "google", "models", call] if call.endswith(":predict"):
                return self._embed(request.json(), call.removesuffix(":predict"))
        raise Refusal(404, f"not found: {request.path}")

    def _claude(self, request, model, method):
        body = request.json()
        if "model" in body:
            raise Refusal(400, "model: Extra inputs are not permitted")
        version = self._version(body)
        if bool(body.get("stream")) != (method == "streamRawPredict"):
            raise Refusal(400, f"stream: {body.get('stream')} does not go with {method}")
        if any(message.get("role") == "system" for message in body.get("messages", [])):
            raise Refusal(400, 'messages: role "system" is not supported on this platform')
        return anthropic.messages(request, {**body, "model": model}, version, self.cache)

    @staticmethod
    def _version(body):
        version = body.pop("anthropic_version", None)
        if version not in anthropic.VERTEX_VERSIONS:
            raise Refusal(400, f"anthropic_version: expected one of {list(anthropic.VERTEX_VERSIONS)}, found {version!r}")
        return anthropic.VERTEX_VERSIONS[version]

    @staticmethod
    def _embed(body, model):
        model, knobs = knobs_of(model)
        refuse_by_knob(knobs)
        if unknown := set(body) - {"instances", "parameters"} or set(body.get("parameters", {})) - {"outputDimensionality", "autoTruncate"}:
            raise Refusal(400, f"unknown members: {sorted(unknown)}")
        dimensions = body.get("parameters", {}).get("outputDimensionality", 768)
        predictions = []
        for instance in body.get("instances", []):
            if not instance.get("content") or set(instance) - {"content", "task_type", "title"}:
                raise Refusal(400, f"not an instance: {instance}")
            statistics = {"truncated": False, "token_count": tokens(instance["content"])}
            predictions.append({"embeddings": {"values": openai.embed(instance["content"], dimensions), "statistics": statistics}})
        return Answer(body={"predictions": predictions, "metadata": {"billableCharacterCount": sum(len(one["content"]) for one in body["instances"])}})

    def render(self, request, refusal):
        # What the model says of a request is in Anthropic's form; the rest is Google's, and the OpenAI-compatible endpoint wraps it in a list.
        if "/publishers/anthropic/" in request.path and refusal.status in (400, 529):
            return anthropic.error(refusal)
        error = {"error": {"code": refusal.status, "message": refusal.message, "status": STATUS.get(refusal.status, "INTERNAL")}}
        return [error] if "/endpoints/openapi/" in request.path else error
