"""The same conversation through every client's dialect to every kind of provider."""

import json

import pytest

from clients import CLIENTS
from test_openai import png

pytestmark = pytest.mark.usefixtures("content")

BEDROCK = ["m-bedrock-claude", "m-bedrock-claude-new", "m-bedrock-nova"]
PROVIDERS = [*BEDROCK, "m-openai", "m-azure", "m-azure-v1", "m-anthropic", "m-vertex-gemini", "m-vertex-claude"]
SYSTEM = "(system: Be brief.)"
# InvokeModel's body is the model's own on Bedrock, and passes untouched: Nova takes no Messages body.
UNTOUCHED = {("anthropic-bedrock", "m-bedrock-nova"), ("invoke", "m-bedrock-nova")}
PAIRS = [(client, model) for client in CLIENTS for model in PROVIDERS if (client, model) not in UNTOUCHED]


def converse(client, stream):
    """An image, a tool, two tools at once, and an answer; gives the replies."""
    replies = []

    def send():
        replies.append(client.send(stream))
        return replies[-1]

    client.ask("What is this?", png())
    send()
    client.ask("What is the weather in Paris?")
    (call,) = send().calls
    client.tell([(call[0], "sunny")])
    send()
    client.ask("Use both tools for Rome")
    first, second = send().calls
    client.tell([(first[0], "rain"), (second[0], "noon")])
    send()
    client.ask("Thank you #turns")
    send()
    return replies


def check(replies):
    """What every client hears of every provider."""
    seen, called, told, both, results, thanks = replies
    assert seen.text == f"Echo: What is this? [image png, {len(png())} bytes] {SYSTEM}"
    assert called.text == "I'll call get_weather."
    assert [(name, value) for _, name, value in called.calls] == [("get_weather", {"city": "Paris"})]
    assert told.text == f"The tool says: sunny {SYSTEM}"
    assert both.names == ["get_weather", "get_time"]
    assert [value for _, _, value in both.calls] == [{"city": "Rome"}] * 2
    assert len({call[0] for call in [*called.calls, *both.calls]}) == 3
    assert results.text == f"The tool says: rain; The tool says: noon {SYSTEM}"
    # Each turn of a side arrived as one: five of the assistant's, six of the user's.
    assert thanks.text == f"Echo: Thank you #turns {SYSTEM} (turns: 11)"
    assert [reply.stop for reply in replies] == ["end", "tool", "end", "tool", "end", "end"]
    assert all(reply.input > 0 and reply.output > 0 for reply in replies)
    assert replies == sorted(replies, key=lambda reply: reply.input), "the prompt only grows"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "model"), PAIRS)
def test_a_conversation(adit, backends, client, model, stream):
    replies = converse(CLIENTS[client](adit, model, "Be brief."), stream)
    check(replies)
    if model not in BEDROCK:
        requests = backends.behind(model).wait()
        assert [(reply.input, reply.output) for reply in replies] == [usage_of(request.answer) for request in requests]


def usage_of(answer):
    """(input, output) as a stand-in has reported them, in a body or in the last of its events that has them."""
    if answer.startswith(b"{"):
        usage = json.loads(answer)["usage"]
    else:
        events = [json.loads(line[5:]) for line in answer.decode().splitlines() if line.startswith("data:") and not line.endswith("[DONE]")]
        usage = next(event["usage"] for event in reversed(events) if event.get("usage"))
    if "prompt_tokens" in usage:
        return usage["prompt_tokens"], usage["completion_tokens"]
    return usage["input_tokens"] + usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"], usage["output_tokens"]
