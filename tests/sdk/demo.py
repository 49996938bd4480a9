"""What `make demo` shows: the official OpenAI SDK, unchanged, streams a chat from Bedrock's stand-in through Adit at ADIT_BASE_URL."""

import os
import time

import openai

base_url = os.environ["ADIT_BASE_URL"].rstrip("/")
model = os.environ.get("ADIT_MODEL", "claude-3-haiku")
question = "Say in one sentence what an adit is."

print(
    f"""
Adit is up at {base_url}. Nothing of this leaves the machine: the model is a Bedrock stand-in.
The OpenAI SDK (Python, {openai.__version__}) runs this against it:

    client = OpenAI(base_url="{base_url}/v1", api_key="any")
    client.chat.completions.create(model="{model}", stream=True, stream_options={{"include_usage": True}},
                                   messages=[{{"role": "user", "content": "{question}"}}])
"""
)

client = openai.OpenAI(base_url=f"{base_url}/v1", api_key="any", max_retries=0)
started = time.monotonic()
first = usage = finish = None
text = ""
with client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": question}],
    stream=True,
    stream_options={"include_usage": True},
) as stream:
    headers = stream.response.headers
    print(f"{model}: ", end="", flush=True)
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            if choice.delta.content:
                first = first or time.monotonic()
                text += choice.delta.content
                print(choice.delta.content, end="", flush=True)
print("\n")

assert text, "the stream had no text"
assert finish == "stop", f"the stream ended with {finish}"
assert usage is not None, "no usage came"
print(
    f"first text after {(first - started) * 1000:.0f} ms, all after {(time.monotonic() - started) * 1000:.0f} ms; "
    f"{usage.prompt_tokens} tokens in, {usage.completion_tokens} out; "
    f"provider {headers['x-adit-provider']}, request {headers['x-request-id']}"
)
print("\n`make demo-serve` keeps a gateway running to try more on; `make test` runs everything.")
