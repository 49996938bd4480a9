// The official `openai` package for Node against every kind of provider: ADIT_BACKENDS_URL (`gateway.py --backends`).

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import OpenAI, { APIError, RateLimitError } from "openai";

import { PIXEL } from "./pixel.mjs";

const base = process.env.ADIT_BACKENDS_URL?.replace(/\/$/, "");
assert.ok(base, "ADIT_BACKENDS_URL is not set: run `make test-sdk`");

const every = ["m-openai", "m-azure", "m-azure-v1", "m-vertex-gemini", "m-anthropic", "m-vertex-claude", "m-bedrock-claude", "m-bedrock-nova"];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = ["get_weather", "get_time"].map((name) => ({ type: "function", function: { name, description: "What a city has", parameters } }));
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "sk-obviously-not-a-key", maxRetries: 0, timeout: 30_000 });
const most = { max_tokens: 200 };

for (const model of every) {
  describe(model, () => {
    test("an image, whole and streamed", async () => {
      const content = [{ type: "text", text: "Look" }, { type: "image_url", image_url: { url: `data:image/png;base64,${PIXEL}` } }];
      const messages = [{ role: "system", content: "Be brief." }, { role: "user", content }];
      const whole = await client.chat.completions.create({ model, messages, ...most });
      assert.match(whole.choices[0].message.content, /^Echo: Look \[image png, \d+ bytes\] \(system: Be brief\.\)$/);
      const streamed = await client.chat.completions.stream({ model, messages, stream_options: { include_usage: true }, ...most }).finalChatCompletion();
      assert.equal(streamed.choices[0].message.content, whole.choices[0].message.content);
      assert.equal(streamed.usage.total_tokens, whole.usage.total_tokens);
    });

    test("the loop of tools, in parallel and streamed", async () => {
      const messages = [{ role: "user", content: "Use both tools for Rome" }];
      const turn = await client.chat.completions.stream({ model, messages, tools, ...most }).finalChatCompletion();
      const { content, tool_calls: calls } = turn.choices[0].message;
      assert.deepEqual(calls.map((call) => call.function.name), ["get_weather", "get_time"]);
      const sent = calls.map(({ id, type, function: called }) => ({ id, type, function: { name: called.name, arguments: called.arguments } }));
      messages.push({ role: "assistant", content, tool_calls: sent });
      calls.forEach((call, at) => messages.push({ role: "tool", tool_call_id: call.id, content: ["rain", "noon"][at] }));
      const answer = await client.chat.completions.create({ model, messages, tools, ...most });
      assert.equal(answer.choices[0].message.content, "The tool says: rain; The tool says: noon");
    });

    test("three choices", async () => {
      const answer = await client.chat.completions.create({ model, messages: [{ role: "user", content: "Hello" }], n: 3, ...most });
      assert.deepEqual(answer.choices.map((choice) => [choice.index, choice.message.content]), [0, 1, 2].map((index) => [index, "Echo: Hello"]));
    });
  });
}

describe("embeddings", () => {
  for (const model of ["e-openai", "e-azure", "e-vertex", "e-titan", "e-nova", "e-cohere"]) {
    test(model, async () => {
      // Without a word the SDK asks for base64.
      const packed = await client.embeddings.create({ model, input: ["one", "two"] });
      const plain = await client.embeddings.create({ model, input: ["one", "two"], encoding_format: "float" });
      assert.deepEqual(packed.data.map((one) => one.index), [0, 1]);
      packed.data.forEach((one, at) => {
        assert.equal(one.embedding.length, plain.data[at].embedding.length);
        one.embedding.forEach((number, index) => assert.ok(Math.abs(number - plain.data[at].embedding[index]) < 1e-6));
      });
    });
  }
});

describe("errors", () => {
  for (const model of ["m-openai", "m-azure", "m-vertex-gemini", "m-anthropic"]) {
    test(`of ${model}`, async () => {
      await assert.rejects(client.chat.completions.create({ model: `${model}.error-429`, messages: [{ role: "user", content: "x" }], ...most }), RateLimitError);
      await assert.rejects(async () => {
        const messages = [{ role: "user", content: "one two three four five six" }];
        for await (const _ of await client.chat.completions.create({ model: `${model}.error-midstream`, messages, stream: true, ...most }));
      }, APIError);
    });
  }
});
