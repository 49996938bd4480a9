"""Two gateways for the whole run: ADIT_BASE_URL, or `adit demo` started here; and one in front of all the stand-ins."""

import os

import httpx2
import openai
import pytest

from backends import Backends
from gateway import Gateway

# Answers come from a stand-in on the same machine: what takes longer hangs.
TIMEOUT_SECONDS = 30
KEY = "sk-obviously-not-a-key"
MODEL = "claude-3-haiku"

# LangChain would report its runs to a server.
os.environ["LANGSMITH_TRACING"] = "false"


@pytest.fixture(scope="session")
def base_url():
    """The gateway's address without /v1."""
    given = os.environ.get("ADIT_BASE_URL")
    if given:
        yield given.rstrip("/")
        return
    with Gateway() as gateway:
        yield gateway.base_url


@pytest.fixture(scope="session")
def backends():
    """The sandbox and the stand-ins."""
    with Backends() as backends:
        yield backends


@pytest.fixture(scope="session")
def adit(backends):
    """The address, without /v1, of a gateway in front of all of them."""
    with backends.gateway() as gateway:
        yield gateway.base_url


@pytest.fixture
def content(backends):
    """Whatever a test did, nobody behind the gateway found anything wrong with what came."""
    backends.forget()
    yield
    assert backends.objections() == []


@pytest.fixture(autouse=True)
def still_serving(request):
    """Whatever a test did, the daemon serves the next one."""
    url = request.getfixturevalue("adit" if "adit" in request.fixturenames else "base_url")
    yield
    answer = httpx2.get(f"{url}/health", timeout=TIMEOUT_SECONDS)
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "service": "ai-gateway"})


@pytest.fixture(scope="session")
def client(base_url):
    """The official client; it does not retry, so that each answer is seen."""
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture
async def async_client(base_url):
    async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS) as client:
        yield client
