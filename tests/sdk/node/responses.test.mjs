// Responses of the official `openai` package for Node, unchanged, against the gateway at ADIT_BASE_URL and, in front of all the stand-ins, at ADIT_BACKENDS_URL.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import OpenAI, { BadRequestError, NotFoundError } from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import * as knobs from "./knobs.mjs";

const backends = process.env.ADIT_BACKENDS_URL?.replace(/\/$/, "");
assert.ok(backends, "ADIT_BACKENDS_URL is not set: run `make test-sdk`");

const client = new OpenAI({ baseURL: `${backends}/v1`, apiKey: "sk-obviously-not-a-key", maxRetries: 0, timeout: 30_000 });
const weather = {
  type: "function",
  name: "get_weather",
  description: "The weather of a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false },
  strict: true,
};

for (const model of ["m-bedrock-claude", "m-openai", "m-anthropic"]) {
  describe(`responses of ${model}`, () => {
    test("a text", async () => {
      const answer = await client.responses.create({ model, input: "Hello, Node" });
      assert.equal(answer.output_text, "Echo: Hello, Node");
      assert.deepEqual([answer.object, answer.status, answer.model], ["response", "completed", model]);
      assert.equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens);
    });

    test("a stream", async () => {
      const events = [];
      for await (const event of await client.responses.create({ model, input: "Hello, Node", stream: true })) events.push(event);
      assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
      const text = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");
      assert.equal(text, "Echo: Hello, Node");
      assert.equal(events.at(-1).type, "response.completed");
      assert.equal(events.at(-1).response.output[0].content[0].text, text);
    });

    test("a tool loop with the stream helper", async () => {
      const input = [{ role: "user", content: "What is the weather in Oslo?" }];
      const answer = await client.responses.stream({ model, input, tools: [weather] }).finalResponse();
      const call = answer.output.find((item) => item.type === "function_call");
      assert.deepEqual([call.name, JSON.parse(call.arguments)], ["get_weather", { city: "Oslo" }]);
      const output = { type: "function_call_output", call_id: call.call_id, output: "rain" };
      const told = await client.responses.create({ model, input: [...input, ...answer.output, output], tools: [weather] });
      assert.equal(told.output_text, "The tool says: rain");
    });

    test("parse", async () => {
      const Person = z.object({ name: z.string(), age: z.number() });
      const answer = await client.responses.parse({ model, input: "Tell me of Ada", text: { format: zodTextFormat(Person, "person") } });
      assert.equal(typeof answer.output_parsed.name, "string");
      assert.equal(typeof answer.output_parsed.age, "number");
    });

    test("a conversation that is kept", async () => {
      const first = await client.responses.create({ model, input: "One" });
      const second = await client.responses.create({ model, input: "Two #turns", previous_response_id: first.id });
      assert.equal(second.output_text, "Echo: Two #turns (turns: 3)");
      const kept = await client.responses.retrieve(first.id);
      assert.deepEqual([kept.id, kept.output], [first.id, first.output]);
      const texts = [];
      for await (const item of client.responses.inputItems.list(second.id, { order: "asc" })) texts.push(item.content[0].text);
      assert.deepEqual(texts, ["One", "Echo: One", "Two #turns"]);
      await client.responses.delete(first.id);
      await assert.rejects(client.responses.retrieve(first.id), NotFoundError);
    });

    test("background is refused clearly", async () => {
      await assert.rejects(client.responses.create({ model, input: "x", background: true }), (error) => {
        assert.ok(error instanceof BadRequestError);
        assert.equal(error.param, "background");
        return true;
      });
    });
  });
}

test("a failure in a stream of responses is its last event", async () => {
  const events = [];
  for await (const event of await client.responses.create({ model: knobs.refuseInStream("throttlingException"), input: "x", stream: true })) events.push(event);
  assert.equal(events.at(-1).type, "response.failed");
  assert.equal(events.at(-1).response.error.code, "rate_limit_exceeded");
});
