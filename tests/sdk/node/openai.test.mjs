// The official `openai` package for Node, unchanged, against the gateway at ADIT_BASE_URL (tests/sdk/python/gateway.py starts one).

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";

import OpenAI, { APIError, APIUserAbortError, BadRequestError, NotFoundError, RateLimitError } from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import * as knobs from "./knobs.mjs";

const base = process.env.ADIT_BASE_URL?.replace(/\/$/, "");
assert.ok(base, "ADIT_BASE_URL is not set: run `make test-sdk`");

const model = "claude-3-haiku";
const hello = [{ role: "user", content: "Hello, Node" }];
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "sk-obviously-not-a-key", maxRetries: 0, timeout: 30_000 });

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const textOf = (chunks) => chunks.flatMap((chunk) => chunk.choices).map((choice) => choice.delta.content ?? "").join("");

after(async () => {
  const answer = await fetch(`${base}/health`);
  assert.deepEqual(await answer.json(), { status: "healthy", service: "ai-gateway" });
});

describe("chat", () => {
  test("an answer", async () => {
    const answer = await client.chat.completions.create({ model, messages: hello });
    assert.equal(answer.object, "chat.completion");
    assert.equal(answer.model, model);
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.match(answer.choices[0].message.content, /Hello, Node/);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert.ok(answer._request_id);
  });

  test("many at once", async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, number) => client.chat.completions.create({ model, messages: [{ role: "user", content: `number ${number}` }] })),
    );
    answers.forEach((answer, number) => assert.match(answer.choices[0].message.content, new RegExp(`number ${number}`)));
  });

  test("headers", async () => {
    const { response } = await client.chat.completions.create({ model, messages: hello, seed: 1 }).withResponse();
    assert.equal(response.headers.get("x-adit-provider"), "bedrock");
    assert.equal(response.headers.get("x-adit-dropped"), "seed");
  });
});

describe("streams", () => {
  test("the text, one finish reason, no usage", async () => {
    const chunks = await collect(await client.chat.completions.create({ model, messages: hello, stream: true }));
    assert.match(textOf(chunks), /Hello, Node/);
    assert.deepEqual(chunks.flatMap((chunk) => chunk.choices).flatMap((choice) => choice.finish_reason ?? []), ["stop"]);
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
    assert.ok(chunks.every((chunk) => !chunk.usage));
  });

  test("usage when asked for", async () => {
    const chunks = await collect(await client.chat.completions.create({ model, messages: hello, stream: true, stream_options: { include_usage: true } }));
    assert.deepEqual(chunks.at(-1).choices, []);
    assert.ok(chunks.at(-1).usage.completion_tokens > 0);
  });

  test("the stream helper", async () => {
    const final = await client.chat.completions.stream({ model, messages: hello }).finalChatCompletion();
    assert.match(final.choices[0].message.content, /Hello, Node/);
    assert.equal(final.choices[0].finish_reason, "stop");
  });

  test("an abort in the middle", async () => {
    const stream = await client.chat.completions.create({ model: knobs.slow(0.2), messages: [{ role: "user", content: "word ".repeat(100) }], stream: true });
    let seen = 0;
    for await (const _ of stream) {
      seen += 1;
      if (seen === 2) stream.controller.abort();
    }
    assert.ok(seen >= 2 && seen < 20, `${seen} chunks`);
  });

  test("an abort before the answer", async () => {
    const abort = new AbortController();
    const answer = client.chat.completions.create({ model: knobs.late(2), messages: hello }, { signal: abort.signal });
    setTimeout(() => abort.abort(), 50);
    await assert.rejects(answer, APIUserAbortError);
  });

  test("an exception in the middle is an error, after some text", async () => {
    const chunks = [];
    await assert.rejects(async () => {
      const stream = await client.chat.completions.create({
        model: knobs.refuseInStream("modelStreamErrorException"),
        messages: [{ role: "user", content: "one two three four five six" }],
        stream: true,
      });
      for await (const chunk of stream) chunks.push(chunk);
    }, APIError);
    assert.ok(textOf(chunks));
    assert.ok(chunks.every((chunk) => chunk.choices.every((choice) => !choice.finish_reason)));
  });
});

describe("tools", () => {
  test("the full loop", async () => {
    const messages = [{ role: "user", content: "What is the weather in Paris?" }];
    const first = await client.chat.completions.create({ model, messages, tools: [weather], tool_choice: "required" });
    assert.equal(first.choices[0].finish_reason, "tool_calls");
    const call = first.choices[0].message.tool_calls[0];
    assert.equal(typeof JSON.parse(call.function.arguments).city, "string");
    messages.push(first.choices[0].message, { role: "tool", tool_call_id: call.id, content: "22 degrees" });
    const second = await client.chat.completions.create({ model, messages, tools: [weather] });
    assert.equal(second.choices[0].finish_reason, "stop");
    assert.match(second.choices[0].message.content, /22 degrees/);
  });

  test("the tool runner", async () => {
    const cities = [];
    const runner = client.chat.completions.runTools({
      model,
      messages: [{ role: "user", content: "What is the weather in Paris?" }],
      tools: [
        {
          type: "function",
          function: {
            ...weather.function,
            parse: JSON.parse,
            function: ({ city }) => {
              cities.push(city);
              return `sunny in ${city}`;
            },
          },
        },
      ],
      // A named tool is called once; the runner then ends by itself.
      tool_choice: { type: "function", function: { name: "get_weather" } },
    });
    await runner.done();
    assert.equal(cities.length, 1);
    assert.equal(typeof cities[0], "string");
  });

  test("streamed, with dense indices", async () => {
    const stream = client.chat.completions.stream({
      model,
      // The stand-in calls all the tools that it is asked for.
      messages: [{ role: "user", content: "Use both tools for Paris" }],
      tools: [weather, { ...weather, function: { ...weather.function, name: "get_time" } }],
      tool_choice: "required",
    });
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0].finish_reason, "tool_calls");
    assert.deepEqual(final.choices[0].message.tool_calls.map((call) => call.function.name), ["get_weather", "get_time"]);
    for (const call of final.choices[0].message.tool_calls) JSON.parse(call.function.arguments);
  });
});

describe("structured output", () => {
  const Person = z.object({ name: z.string(), age: z.number().int() });

  for (const name of [model, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"]) {
    test(`parsed by zod: ${name}`, async () => {
      const answer = await client.chat.completions.parse({ model: name, messages: hello, response_format: zodResponseFormat(Person, "person") });
      assert.doesNotThrow(() => Person.parse(answer.choices[0].message.parsed));
    });
  }
});

describe("models", () => {
  test("list and retrieve", async () => {
    const ids = [];
    for await (const entry of client.models.list()) ids.push(entry.id);
    assert.ok(ids.includes(model));
    for (const id of ids) assert.equal((await client.models.retrieve(id)).id, id);
  });

  test("an id with colons and dots", async () => {
    const id = "anthropic.claude-3-haiku-20240307-v1:0";
    assert.equal((await client.models.retrieve(id)).id, id);
  });
});

describe("errors", () => {
  test("an unknown model", async () => {
    await assert.rejects(client.chat.completions.create({ model: "no-such-model", messages: hello }), (error) => {
      assert.ok(error instanceof NotFoundError);
      assert.equal(error.code, "model_not_found");
      assert.ok(error.requestID);
      return true;
    });
  });

  test("a member that is refused", async () => {
    await assert.rejects(client.chat.completions.create({ model, messages: hello, n: 129 }), (error) => error instanceof BadRequestError && error.param === "n");
  });

  test("throttling", async () => {
    await assert.rejects(client.chat.completions.create({ model: knobs.refuse("ThrottlingException"), messages: hello }), (error) => {
      assert.ok(error instanceof RateLimitError);
      assert.equal(error.status, 429);
      assert.equal(error.code, "rate_limit_exceeded");
      return true;
    });
  });
});
