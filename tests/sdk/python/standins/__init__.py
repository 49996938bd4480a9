"""Stand-ins for the providers that have no sandbox of their own: OpenAI, Azure OpenAI, Anthropic, Vertex AI and Google's token servers.

Each is strict where the real one is: it knows one key, checks every body against the vendor's schema and the rules that no schema says, and keeps what it
refused in `objections`. Answers are worked out from the request (`answer.py`) and say what the Bedrock sandbox would say. Nothing but the standard library
and `jsonschema` is needed.

Knobs stand behind the model's name and are read from the right, `gpt-4.1-mini.slow.error-midstream`:

| knob | does |
| --- | --- |
| `error-429` | that status instead of an answer; 429 and 529 with `retry-after: 7` |
| `error-midstream` | an error event behind three pieces of content |
| `cut` | the connection breaks behind three pieces of content, or in the middle of a JSON body |
| `slow` | a tenth of a second between two frames |
| `hold` | waits for `release()` behind the first piece of content, or before the head |
| `gzip` | a compressed answer, if the request accepts one |
| `lax` | members that the API does not know are no mistake |
"""
