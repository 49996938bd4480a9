// The official `@anthropic-ai/sdk`, unchanged, against a gateway with every kind of provider behind it: ADIT_BACKENDS_URL (`gateway.py --backends`).

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";

import Anthropic, { APIError, APIUserAbortError, BadRequestError, NotFoundError, RateLimitError } from "@anthropic-ai/sdk";

import * as knobs from "./knobs.mjs";
import { PIXEL } from "./pixel.mjs";

const base = process.env.ADIT_BACKENDS_URL?.replace(/\/$/, "");
assert.ok(base, "ADIT_BACKENDS_URL is not set: run `make test-sdk`");

// Relayed to Anthropic and Vertex, reframed for Claude on Bedrock, translated for the others.
const claudes = ["m-anthropic", "m-vertex-claude", "m-bedrock-claude"];
const every = [...claudes, "m-bedrock-nova", "m-openai", "m-azure", "m-vertex-gemini"];
const hello = [{ role: "user", content: "Hello, Node" }];
const sixWords = [{ role: "user", content: "one two three four five six" }];
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = ["get_weather", "get_time"].map((name) => ({ name, description: "What a city has", input_schema: city }));
const client = new Anthropic({ baseURL: base, apiKey: "sk-obviously-not-a-key", maxRetries: 0, timeout: 30_000 });
const most = { max_tokens: 200 };

const textOf = (message) => message.content.map((block) => (block.type === "text" ? block.text : "")).join("");

after(async () => {
  const answer = await fetch(`${base}/health`);
  assert.deepEqual(await answer.json(), { status: "healthy", service: "ai-gateway" });
});

for (const model of every) {
  describe(model, () => {
    test("an answer, whole and streamed", async () => {
      const request = { model, messages: hello, system: "Be brief.", ...most };
      const whole = await client.messages.create(request);
      assert.equal(textOf(whole), "Echo: Hello, Node (system: Be brief.)");
      assert.equal(whole.stop_reason, "end_turn");
      const streamed = await client.messages.stream(request).finalMessage();
      assert.equal(textOf(streamed), textOf(whole));
      assert.equal(streamed.usage.output_tokens, whole.usage.output_tokens);
      assert.equal(streamed.usage.input_tokens, whole.usage.input_tokens);
    });

    test("every event in its order", async () => {
      const events = [];
      for await (const event of await client.messages.create({ model, messages: hello, stream: true, ...most })) events.push(event);
      assert.equal(events[0].type, "message_start");
      assert.deepEqual(events.slice(-3).map((event) => event.type), ["content_block_stop", "message_delta", "message_stop"]);
      assert.deepEqual(events.filter((event) => event.type === "content_block_start").map((event) => event.index), [0]);
    });

    test("an image", async () => {
      const image = { type: "image", source: { type: "base64", media_type: "image/png", data: PIXEL } };
      const answer = await client.messages.create({ model, messages: [{ role: "user", content: [image, { type: "text", text: "Look" }] }], ...most });
      assert.match(textOf(answer), /\[image png, \d+ bytes\]/);
    });

    test("the loop of tools, in parallel and streamed", async () => {
      const messages = [{ role: "user", content: "Use both tools for Rome" }];
      const turn = await client.messages.stream({ model, messages, tools, ...most }).finalMessage();
      assert.equal(turn.stop_reason, "tool_use");
      const calls = turn.content.filter((block) => block.type === "tool_use");
      assert.deepEqual(calls.map((call) => [call.name, call.input]), [["get_weather", { city: "Rome" }], ["get_time", { city: "Rome" }]]);
      const results = calls.map((call, at) => ({ type: "tool_result", tool_use_id: call.id, content: ["rain", "noon"][at] }));
      messages.push({ role: "assistant", content: turn.content }, { role: "user", content: results });
      const answer = await client.messages.create({ model, messages, tools, ...most });
      assert.equal(textOf(answer), "The tool says: rain; The tool says: noon");
    });
  });
}

describe("thinking", () => {
  for (const model of claudes) {
    test(`comes back as it was: ${model}`, async () => {
      const request = { model, max_tokens: 4096, thinking: { type: "enabled", budget_tokens: 1024 } };
      const turn = await client.messages.stream({ ...request, messages: hello }).finalMessage();
      assert.deepEqual(turn.content.map((block) => block.type), ["thinking", "text"]);
      const messages = [...hello, { role: "assistant", content: turn.content }, { role: "user", content: "Go on" }];
      assert.equal((await client.messages.create({ ...request, messages })).stop_reason, "end_turn");
    });
  }
});

describe("tokens", () => {
  for (const model of claudes) {
    test(`are counted: ${model}`, async () => {
      assert.ok((await client.messages.countTokens({ model, messages: hello })).input_tokens > 0);
    });
  }
});

describe("errors", () => {
  test("an unknown model", async () => {
    await assert.rejects(client.messages.create({ model: "no-such-model", messages: hello, ...most }), (error) => {
      assert.ok(error instanceof NotFoundError);
      assert.equal(error.error.error.type, "not_found_error");
      return true;
    });
  });

  test("a broken request", async () => {
    await assert.rejects(client.messages.create({ model: "m-openai", messages: hello }), BadRequestError);
  });

  for (const model of [knobs.refuse("ThrottlingException"), "m-anthropic.error-429", "m-openai.error-429"]) {
    test(`throttling: ${model}`, async () => {
      await assert.rejects(client.messages.create({ model, messages: hello, ...most }), (error) => {
        assert.ok(error instanceof RateLimitError);
        assert.equal(error.error.error.type, "rate_limit_error");
        return true;
      });
    });
  }

  for (const model of [knobs.refuseInStream("throttlingException"), "m-anthropic.error-midstream", "m-openai.error-midstream"]) {
    test(`in the middle: ${model}`, async () => {
      const events = [];
      await assert.rejects(async () => {
        for await (const event of await client.messages.create({ model, messages: sixWords, stream: true, ...most })) events.push(event.type);
      }, APIError);
      assert.ok(events.includes("content_block_delta") && !events.includes("message_stop"));
    });
  }

  test("an abort in the middle", async () => {
    const stream = client.messages.stream({ model: "m-openai.slow", messages: [{ role: "user", content: "word ".repeat(100) }], max_tokens: 1000 });
    stream.once("text", () => stream.abort());
    await assert.rejects(stream.finalMessage(), APIUserAbortError);
  });
});
