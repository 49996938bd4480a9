"""Legacy Completions of the official `openai` package, over every API of providers."""

import openai
import pytest

from conftest import KEY, TIMEOUT_SECONDS


@pytest.fixture(scope="module")
def over(adit):
    with openai.OpenAI(base_url=f"{adit}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.mark.parametrize("model", ["m-bedrock-claude", "m-bedrock-nova", "m-openai", "m-azure", "m-anthropic", "m-vertex-gemini"])
class TestEverywhere:
    def test_a_text(self, over, model):
        answer = over.completions.create(model=model, prompt="Once upon", max_tokens=50)
        assert (answer.object, answer.model) == ("text_completion", model)
        (choice,) = answer.choices
        assert (choice.text, choice.index, choice.finish_reason, choice.logprobs) == ("Echo: Once upon", 0, "stop", None)
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0

    def test_a_stream(self, over, model):
        chunks = list(over.completions.create(model=model, prompt="Once upon", stream=True, stream_options={"include_usage": True}))
        assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "Echo: Once upon"
        assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
        assert chunks[-1].usage.total_tokens > 0 and all(chunk.usage is None for chunk in chunks[:-1])

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    def test_prompts_and_n_and_echo(self, over, model, stream):
        answer = over.completions.create(model=model, prompt=["One", "Two"], n=2, echo=True, stream=stream)
        texts = [""] * 4
        for chunk in answer if stream else [answer]:
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        assert texts == ["OneEcho: One"] * 2 + ["TwoEcho: Two"] * 2

    def test_it_is_cut_off(self, over, model):
        (choice,) = over.completions.create(model=model, prompt="Once upon a time, there was a fox", max_tokens=3).choices
        assert choice.finish_reason == "length" and choice.text


def test_tokens_are_refused(over):
    with pytest.raises(openai.BadRequestError) as caught:
        over.completions.create(model="m-bedrock-claude", prompt=[1, 2, 3])
    assert caught.value.param == "prompt"
