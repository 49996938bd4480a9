"""boto3, unchanged, with key pairs that the gateway has issued: what it signs is verified, and signed anew for the sandbox, which verifies that."""

import datetime
import json
import re
import subprocess

import boto3
import botocore.auth
import httpx2
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from backends import BEDROCK_CLAUDE
from clients import MOST_TOKENS
from conftest import TIMEOUT_SECONDS
from gateway import Gateway, Sandbox, binary

ARN = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{BEDROCK_CLAUDE}"
MODELS = ["haiku", "anthropic.claude-3-haiku-20240307-v1:0", BEDROCK_CLAUDE, ARN]
MESSAGES = [{"role": "user", "content": [{"text": "Hello"}]}]
MOST = {"inferenceConfig": {"maxTokens": MOST_TOKENS}}
INVOKE = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]})
UNKNOWN = ("UnrecognizedClientException", "The security token included in the request is invalid.")


def issue(name):
    """Access key id, secret and the line for keys.yaml, as the gateway prints them."""
    said = subprocess.run([binary(), "key", "new", "--sigv4", name], check=True, capture_output=True, text=True).stdout
    id, secret = (re.search(rf"^{variable}=(\S+)$", said, re.M)[1] for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    return id, secret, said.rstrip().splitlines()[-1]


@pytest.fixture(scope="module")
def pairs():
    return {name: issue(name) for name in ("robot", "off")}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def base_url(sandbox, pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sigv4")
    bedrock = {
        "type": "bedrock",
        "region": "us-east-1",
        "endpoint": sandbox.base_url,
        "access_key_id": Sandbox.ACCESS_KEY_ID,
        "secret_access_key": Sandbox.SECRET_ACCESS_KEY,
    }
    host = {"pid_file": str(folder / "pid"), "upgrade_sock": str(folder / "sock")}
    # JSON is YAML.
    (folder / "adit.yaml").write_text(json.dumps({"models": "models.yaml", "auth": {"enabled": True}, "pingora": host}))
    (folder / "models.yaml").write_text(json.dumps({"providers": {"bedrock": bedrock}, "models": {"haiku": {"bedrock": MODELS[1]}}}))
    off = pairs["off"][2].replace(" }", ", disabled: true }")
    (folder / "keys.yaml").write_text(f"keys:\n{pairs['robot'][2]}\n{off}\n")
    with Gateway(config=folder / "adit.yaml") as gateway:
        yield gateway.base_url


def client(base_url, id, secret, token=None):
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=base_url,
        aws_access_key_id=id,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=TIMEOUT_SECONDS),
    )


@pytest.fixture
def robot(base_url, pairs, sandbox):
    sandbox.forget()
    yield client(base_url, *pairs["robot"][:2])
    assert [request["answer"]["message"] for request in sandbox.requests() if request["answer"]["error"]] == []


def refusal(call):
    with pytest.raises(ClientError) as refused:
        call()
    response = refused.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return response["Error"]["Code"], response["Error"]["Message"]


@pytest.mark.parametrize("prefix", ["", "/bedrock", "/providers/bedrock"])
@pytest.mark.parametrize("model", MODELS)
class TestEveryOperation:
    @pytest.fixture
    def robot(self, robot, base_url, pairs, prefix):
        return client(base_url + prefix, *pairs["robot"][:2])

    def test_converse(self, robot, model):
        answer = robot.converse(modelId=model, messages=MESSAGES, **MOST)
        assert answer["output"]["message"]["content"][0]["text"].startswith("Echo: Hello")

    def test_converse_stream(self, robot, model):
        events = list(robot.converse_stream(modelId=model, messages=MESSAGES, **MOST)["stream"])
        assert "messageStop" in events[-2] and "metadata" in events[-1]

    def test_invoke_model(self, robot, model):
        answer = json.loads(robot.invoke_model(modelId=model, body=INVOKE)["body"].read())
        assert answer["content"][0]["text"].startswith("Echo: Hello")

    def test_invoke_model_with_response_stream(self, robot, model):
        events = [json.loads(event["chunk"]["bytes"]) for event in robot.invoke_model_with_response_stream(modelId=model, body=INVOKE)["body"]]
        assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")


def test_a_large_body(robot):
    answer = robot.converse(modelId="haiku", messages=[{"role": "user", "content": [{"text": "Hello " * 100_000}]}], **MOST)
    assert answer["stopReason"] in ("end_turn", "max_tokens")


class TestRefusals:
    """Nothing of it reaches the sandbox."""

    @pytest.fixture(autouse=True)
    def unheard(self, sandbox):
        sandbox.forget()
        yield
        assert sandbox.requests() == []

    def ask(self, client):
        return refusal(lambda: client.converse(modelId="haiku", messages=MESSAGES, **MOST))

    def test_a_wrong_secret(self, base_url, pairs):
        code, message = self.ask(client(base_url, pairs["robot"][0], "not-the-secret"))
        assert code == "InvalidSignatureException" and "does not match" in message
        assert pairs["robot"][1] not in message

    def test_what_is_unknown_and_what_is_off_looks_the_same(self, base_url, pairs):
        assert self.ask(client(base_url, "ADITOBVIOUSLYUNKNOWN", pairs["robot"][1])) == UNKNOWN
        assert self.ask(client(base_url, *pairs["off"][:2])) == UNKNOWN

    def test_a_session_token(self, base_url, pairs):
        assert self.ask(client(base_url, *pairs["robot"][:2], token="obviously-not-a-token")) == UNKNOWN

    @pytest.mark.parametrize(("minutes", "expected"), [(-6, "Signature expired"), (6, "Signature not yet current")])
    def test_a_clock_that_is_wrong(self, base_url, pairs, monkeypatch, minutes, expected):
        wrong = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: wrong)
        code, message = self.ask(client(base_url, *pairs["robot"][:2]))
        assert code == "InvalidSignatureException" and message.startswith(expected)

    def test_a_body_that_was_changed_on_the_way(self, base_url, pairs):
        changed = client(base_url, *pairs["robot"][:2])
        touched = []

        def change(request, **_):
            touched.append(request.body)
            request.body = request.body.replace(b"Hello", b"Jello")

        changed.meta.events.register("before-send.bedrock-runtime.*", change)
        code, message = self.ask(changed)
        assert len(touched) == 1 and b"Hello" in touched[0]
        assert code == "InvalidSignatureException" and "does not match" in message

    def test_a_presigned_url(self, base_url, pairs):
        url = client(base_url, *pairs["robot"][:2]).generate_presigned_url("invoke_model", {"modelId": "haiku", "body": INVOKE})
        assert "X-Amz-Signature=" in url
        answer = httpx2.post(url, content=INVOKE, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 403 and "Presigned" in answer.json()["message"]
        assert answer.headers["x-amzn-errortype"] == "InvalidSignatureException"
