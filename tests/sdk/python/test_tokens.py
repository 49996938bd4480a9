"""OpenAI's SDK with a client certificate over TLS, and with an identity provider's token for a key.

Keys, certificates and signatures are made by the `openssl` program: nobody's library but the SDK's own is needed.
"""

import base64
import http.server
import json
import shutil
import ssl
import subprocess
import threading
import time

import httpx2
import openai
import pytest

from conftest import MODEL, TIMEOUT_SECONDS
from gateway import Gateway, Sandbox

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes keys with openssl")

MESSAGES = [{"role": "user", "content": "Hi"}]


def openssl(*arguments, stdin=None):
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, check=True, capture_output=True).stdout


def certificate(folder, name, authority=None):
    """`name`.pem and `name`.key; an authority's own where none is given."""
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    issuer = ["-CA", folder / f"{authority}.pem", "-CAkey", folder / f"{authority}.key", "-addext", "basicConstraints=CA:FALSE"] if authority else []
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / f"{name}.key"]
    openssl("req", "-x509", *key, "-out", folder / f"{name}.pem", "-days", 2, *subject, *issuer)


def models(sandbox):
    keys = f"access_key_id: {Sandbox.ACCESS_KEY_ID}, secret_access_key: {Sandbox.SECRET_ACCESS_KEY}"
    provider = f"{{ type: bedrock, region: us-east-1, endpoint: '{sandbox.base_url}', {keys} }}"
    return f"providers: {{ bedrock: {provider} }}\nmodels: {{ {MODEL}: {{ bedrock: 'anthropic.claude-3-haiku-20240307-v1:0' }} }}\n"


@pytest.fixture
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


def start(folder, sandbox, text):
    (folder / "models.yaml").write_text(models(sandbox))
    (folder / "adit.yaml").write_text(text)
    return Gateway(config=folder / "adit.yaml")


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_client_certificate_is_enough(tmp_path, sandbox):
    certificate(tmp_path, "authority")
    certificate(tmp_path, "gateway", "authority")
    certificate(tmp_path, "alice", "authority")
    port = free_port()
    https = f"{{ address: '127.0.0.1:{port}', certificate: gateway.pem, key: gateway.key, client_ca: authority.pem }}"
    with start(tmp_path, sandbox, f"listen: {{ https: {https} }}\nauth: {{ enabled: true, mode: mtls }}\n"):
        context = ssl.create_default_context(cafile=tmp_path / "authority.pem")
        arguments = {"base_url": f"https://127.0.0.1:{port}/v1", "api_key": "obviously-not-a-key", "max_retries": 0, "timeout": TIMEOUT_SECONDS}
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(**arguments, http_client=httpx2.Client(verify=context)).chat.completions.create(model=MODEL, messages=MESSAGES)
        context.load_cert_chain(tmp_path / "alice.pem", tmp_path / "alice.key")
        for http2 in (False, True):
            client = openai.OpenAI(**arguments, http_client=httpx2.Client(verify=context, http2=http2))
            assert client.chat.completions.create(model=MODEL, messages=MESSAGES).choices[0].message.content
            stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def encoded(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).rstrip(b"=").decode()


class Issuer(http.server.BaseHTTPRequestHandler):
    documents = {}

    def do_GET(self):
        body = json.dumps(self.documents[self.path]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_token_is_a_key(tmp_path, sandbox):
    key = tmp_path / "issuer.key"
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    modulus = bytes.fromhex(openssl("rsa", "-in", key, "-noout", "-modulus").decode().strip().partition("=")[2])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    url = f"http://127.0.0.1:{server.server_port}"
    Issuer.documents = {
        "/.well-known/openid-configuration": {"issuer": url, "jwks_uri": f"{url}/keys"},
        "/keys": {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "n": encoded(modulus), "e": "AQAB"}]},
    }
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def token(**claims):
        claims = {"iss": url, "aud": "adit", "sub": "alice", "exp": int(time.time()) + 600} | claims
        message = f"{encoded({'alg': 'RS256', 'kid': 'k1'})}.{encoded(claims)}"
        return f"{message}.{encoded(openssl('dgst', '-sha256', '-sign', key, stdin=message.encode()))}"

    with start(tmp_path, sandbox, f"auth: {{ enabled: true, mode: jwt, jwt: {{ issuer: '{url}', audience: adit }} }}\n") as gateway:

        def create(api_key):
            client = openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=api_key, max_retries=0, timeout=TIMEOUT_SECONDS)
            return client.chat.completions.create(model=MODEL, messages=MESSAGES)

        assert create(token()).choices[0].message.content
        for bad in (token(exp=1), token(aud="other"), token()[:-8] + "AAAAAAAA", "obviously-not-a-key"):
            with pytest.raises(openai.AuthenticationError):
                create(bad)
    server.shutdown()
