"""Embeddings through the official `openai` package, from every kind of model that makes some."""

import base64
import struct

import httpx2
import openai
import pytest

from conftest import KEY, TIMEOUT_SECONDS

pytestmark = pytest.mark.usefixtures("content")

# Model → its dimensions, and others that it can be asked for.
DIMENSIONS = {
    "e-titan": (1024, 256),
    "e-titan-g1": (1536, None),
    "e-nova": (3072, 384),
    "e-cohere": (1024, None),
    "e-cohere-v4": (1536, 512),
    "e-openai": (1536, 64),
    "e-azure": (1536, 64),
    "e-vertex": (768, 128),
}
TITAN = "amazon.titan-embed-text-v2:0"


@pytest.fixture
def client(adit):
    with openai.OpenAI(base_url=f"{adit}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS) as client:
        yield client


def vectors(answer):
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    assert {one.object for one in answer.data} == {"embedding"} and answer.object == "list"
    return [one.embedding for one in answer.data]


def close(one, other):
    """The same but for what float32 cannot hold."""
    return len(one) == len(other) and all(abs(a - b) <= 1e-6 * max(1, abs(a)) for a, b in zip(one, other))


@pytest.mark.parametrize("model", DIMENSIONS)
def test_one_text(client, model):
    answer = client.embeddings.create(model=model, input="The quick brown fox", encoding_format="float")
    (vector,) = vectors(answer)
    assert len(vector) == DIMENSIONS[model][0] or model == "e-nova"
    assert answer.model == model or model in ("e-openai", "e-azure")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0


@pytest.mark.parametrize("model", DIMENSIONS)
def test_several_in_their_order(client, model):
    texts = [f"text number {number}" for number in range(7)]
    answer = client.embeddings.create(model=model, input=texts, encoding_format="float")
    together = vectors(answer)
    alone = [client.embeddings.create(model=model, input=text, encoding_format="float") for text in texts]
    assert all(close(one, vectors(other)[0]) for one, other in zip(together, alone, strict=True))
    assert len({tuple(vector) for vector in together}) == len(texts)
    assert answer.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in alone)


@pytest.mark.parametrize("model", DIMENSIONS)
def test_base64(client, adit, model):
    plain = vectors(client.embeddings.create(model=model, input=["one", "two"], encoding_format="float"))
    # Without a word the SDK asks for base64, and decodes it.
    assert all(close(*pair) for pair in zip(plain, vectors(client.embeddings.create(model=model, input=["one", "two"])), strict=True))
    body = {"model": model, "input": "one", "encoding_format": "base64"}
    packed = httpx2.post(f"{adit}/v1/embeddings", json=body, timeout=TIMEOUT_SECONDS).json()["data"][0]["embedding"]
    assert close(plain[0], [number for (number,) in struct.iter_unpack("<f", base64.b64decode(packed))])


@pytest.mark.parametrize("model", [model for model, (_, other) in DIMENSIONS.items() if other])
def test_dimensions(client, model):
    wanted = DIMENSIONS[model][1]
    assert [len(vector) for vector in vectors(client.embeddings.create(model=model, input=["one", "two"], dimensions=wanted))] == [wanted] * 2


@pytest.mark.parametrize(("model", "dimensions"), [("e-titan", 333), ("e-titan-g1", 256), ("e-nova", 333), ("e-cohere", 512), ("e-cohere-v4", 333)])
def test_dimensions_that_the_model_has_not(client, backends, model, dimensions):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=model, input="one", dimensions=dimensions)
    assert caught.value.param == "dimensions"
    backends.forget()


def test_tokens(client):
    for tokens in ([1, 2, 3], [[1, 2], [3]]):
        for model in ("e-openai", "e-azure"):
            assert vectors(client.embeddings.create(model=model, input=tokens, dimensions=8))
        for model in ("e-titan", "e-nova", "e-cohere", "e-vertex"):
            with pytest.raises(openai.BadRequestError) as caught:
                client.embeddings.create(model=model, input=tokens)
            assert caught.value.param == "input" and "token" in caught.value.message


@pytest.mark.parametrize("model", ["e-titan", "e-cohere", "e-nova"])
def test_more_than_one_call_takes(client, backends, model):
    # Cohere takes 96 at once, the others one.
    texts = [f"text number {number}" for number in range(100)]
    together = vectors(client.embeddings.create(model=model, input=texts))
    assert len(together) == 100
    for at in (0, 1, 95, 96, 99):
        assert close(together[at], vectors(client.embeddings.create(model=model, input=texts[at]))[0]), at


@pytest.mark.parametrize("model", ["e-titan", "e-titan-g1"])
def test_one_of_several_fails(client, backends, model):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=model, input=["one", "x" * 200_000, "three", "four"])
    assert caught.value.message and caught.value.request_id
    # The sandbox has refused one text, as it should.
    backends.forget()
    assert len(vectors(client.embeddings.create(model=model, input=["one", "three"]))) == 2


@pytest.mark.parametrize(
    ("model", "raised"),
    [
        (f"{TITAN}.sandbox.error-ThrottlingException", openai.RateLimitError),
        (f"{TITAN}.sandbox.error-ServiceUnavailableException", openai.InternalServerError),
        ("e-openai.error-429", openai.RateLimitError),
        ("e-azure.error-500", openai.InternalServerError),
        ("e-vertex.error-429", openai.RateLimitError),
        ("no-such-model", openai.NotFoundError),
        ("m-bedrock-nova", openai.APIStatusError),
    ],
)
def test_errors(client, model, raised):
    with pytest.raises(raised) as caught:
        client.embeddings.create(model=model, input=["one", "two", "three"])
    assert caught.value.message and caught.value.status_code < 600


@pytest.mark.parametrize(("body", "param"), [({"input": "x"}, "model"), ({"model": "e-titan"}, "input"), ({"model": "e-titan", "input": []}, "input")])
def test_a_broken_request(adit, body, param):
    answer = httpx2.post(f"{adit}/v1/embeddings", json=body, timeout=TIMEOUT_SECONDS)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_headers(client):
    raw = client.embeddings.with_raw_response.create(model="e-titan", input=["one", "two"], user="someone")
    assert raw.headers["x-adit-provider"] == "bedrock" and raw.headers["x-adit-model"]
    assert raw.headers["x-adit-dropped"] == "user"
