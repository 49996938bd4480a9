"""All providers at once: the Bedrock sandbox, the stand-ins, and the configuration of a gateway in front of them."""

import contextlib
import json
import tempfile
from pathlib import Path

from gateway import Gateway, Sandbox
from standins.anthropic import Anthropic
from standins.oauth import OAuth
from standins.openai import Azure, OpenAi
from standins.vertex import LOCATION, Vertex

KNOBS = ["error-400", "error-429", "error-500", "error-503", "error-529", "error-midstream", "cut", "slow", "hold", "gzip", "lax"]
BEDROCK_CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
# Of those that take API version 2026-10-21 too.
BEDROCK_CLAUDE_NEW = "us.anthropic.claude-opus-4-8"
BEDROCK_NOVA = "amazon.nova-lite-v1:0"
# Name in the map → provider and the provider's own name. With a knob behind both they are models too.
MODELS = {
    "m-openai": ("openai", "gpt-4.1-mini"),
    "m-openai-reasoning": ("openai", "gpt-5-mini"),
    "m-azure": ("azure", "gpt-4.1-mini"),
    "m-azure-v1": ("azure-v1", "gpt-4.1-mini"),
    "m-anthropic": ("anthropic", "claude-sonnet-4-5-20250929"),
    "m-vertex-gemini": ("vertex", "google/gemini-2.5-flash"),
    "m-vertex-claude": ("vertex", "claude-sonnet-4-5@20250929"),
    "e-openai": ("openai", "text-embedding-3-small"),
    "e-azure": ("azure", "text-embedding-3-small"),
    "e-vertex": ("vertex", "text-embedding-005"),
}
OWN_NAMES = [MODELS["m-openai"], MODELS["m-anthropic"], MODELS["e-openai"]]
# The sandbox has its own knobs, in its own form.
BEDROCK_MODELS = {
    "m-bedrock-claude": BEDROCK_CLAUDE,
    "m-bedrock-claude-new": BEDROCK_CLAUDE_NEW,
    "m-bedrock-nova": BEDROCK_NOVA,
    "e-titan": "amazon.titan-embed-text-v2:0",
    "e-titan-g1": "amazon.titan-embed-text-v1",
    "e-nova": "amazon.nova-2-multimodal-embeddings-v1:0",
    "e-cohere": "cohere.embed-english-v3",
    "e-cohere-v4": "cohere.embed-v4:0",
}


class Backends:
    """`with Backends() as backends, backends.gateway() as gateway`: everything listens on a free port."""

    def __enter__(self):
        self._running = contextlib.ExitStack()
        with contextlib.ExitStack() as running:
            self.sandbox = running.enter_context(Sandbox())
            self.openai = running.enter_context(OpenAi())
            self.azure = running.enter_context(Azure())
            self.anthropic = running.enter_context(Anthropic())
            self.oauth = running.enter_context(OAuth())
            self.vertex = running.enter_context(Vertex(self.oauth))
            self._folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="adit-")))
            self._running = running.pop_all()
        self.stand_ins = [self.openai, self.azure, self.anthropic, self.oauth, self.vertex]
        return self

    def __exit__(self, *_):
        self._running.close()

    def behind(self, model):
        """The stand-in that runs a model of the map."""
        provider = MODELS[model][0] if model in MODELS else "bedrock"
        return {"bedrock": self.sandbox, "azure-v1": self.azure}.get(provider) or getattr(self, provider)

    def objections(self):
        """What the stand-ins found wrong; the sandbox is asked for what it refused without a knob."""
        refused = [
            f"{request['method']} {request['path']}: {request['answer']['message']}"
            for request in self.sandbox.requests()
            if request["answer"]["error"] and ".sandbox." not in (request["model"] or "")
        ]
        return [objection for stand_in in self.stand_ins for objection in stand_in.objections] + refused

    def forget(self):
        self.sandbox.release()
        self.sandbox.forget()
        for stand_in in self.stand_ins:
            stand_in.forget()

    def service_account(self, oauth):
        """A service account's file, whose tokens come from that token server."""
        account = Path(tempfile.mkdtemp(dir=self._folder)) / "service-account.json"
        account.write_text(json.dumps(oauth.service_account()))
        return str(account)

    def providers(self):
        """The `providers` of `models.yaml`."""
        azure = {"type": "azure_openai", "endpoint": self.azure.base_url, "api_key": self.azure.KEY}
        return {
            "bedrock": {
                "type": "bedrock",
                "region": "us-east-1",
                "endpoint": self.sandbox.base_url,
                "access_key_id": Sandbox.ACCESS_KEY_ID,
                "secret_access_key": Sandbox.SECRET_ACCESS_KEY,
            },
            "openai": {"type": "openai", "base_url": f"{self.openai.base_url}/v1", "api_key": self.openai.KEY},
            "azure": {**azure, "api_version": "2024-10-21"},
            "azure-v1": {**azure, "api_version": "v1"},
            "anthropic": {"type": "anthropic", "base_url": self.anthropic.base_url, "api_key": self.anthropic.KEY},
            "vertex": {
                "type": "vertex",
                "project": OAuth.PROJECT,
                "location": LOCATION,
                "endpoint": self.vertex.base_url,
                "credentials": self.service_account(self.oauth),
            },
        }

    def gateway(self, process=None, models=None, routing=None, providers=None, environment=None):
        """An `adit serve` in front of all of them, with more for either file."""
        own = {name: {"bedrock": id} for name, id in BEDROCK_MODELS.items()}
        for name, (provider, id) in MODELS.items():
            own[name] = {provider: id}
            own |= {f"{name}.{knob}": {provider: f"{id}.{knob}"} for knob in KNOBS}
        # Under a provider's own name nothing in a body has to change.
        for provider, id in OWN_NAMES:
            own |= {f"{id}{knob}": {provider: f"{id}{knob}"} for knob in ["", *(f".{knob}" for knob in KNOBS)]}
        # A target that failed on purpose, again and again, must not rest.
        rules = {"default_provider": "bedrock", "cooldown": None, **(routing or {})}
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        # JSON is YAML.
        (folder / "models.yaml").write_text(json.dumps({"providers": self.providers() | (providers or {}), "models": own | (models or {}), "routing": rules}))
        (folder / "adit.yaml").write_text(json.dumps({"models": "models.yaml", **(process or {})}))
        return Gateway(environment, config=folder / "adit.yaml")
