// OpenAI's SDK for node before the gateway: chat completions, embeddings, models.
import { KEY, MODELS, assert, collect, counting, fails, load, main, place, provider, test } from "./check.mjs";

const { default: OpenAI } = load("openai");
const client = new OpenAI({ apiKey: KEY, baseURL: place.gateway + "/v1", maxRetries: 0 });
const chat = client.chat.completions;
const question = (model, more) => ({ model, messages: [{ role: "user", content: "hello" }], ...more });

const SCHEMA = {
  type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city", "days"],
  additionalProperties: false,
};
const TOOL = {
  type: "function", function: { name: "weather", description: "The weather of a city", parameters: SCHEMA },
};
const FORMAT = { type: "json_schema", json_schema: { name: "trip", schema: SCHEMA, strict: true } };

function isTrip(value) {
  assert.equal(typeof value.city, "string");
  assert.ok(Number.isInteger(value.days));
}

// --- answers

test("an answer of %", MODELS, async (model) => {
  const { data, response, request_id } = await chat.create(question(model)).withResponse();
  assert.equal(data.choices[0].message.content, "echo: hello");
  assert.equal(data.choices[0].message.role, "assistant");
  assert.equal(data.choices[0].finish_reason, "stop");
  assert.equal(data.object, "chat.completion");
  assert.ok(data.id && Number.isInteger(data.created) && data.model);
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
  assert.ok(data.usage.completion_tokens > 0);
  assert.ok(request_id && data._request_id === request_id && response.headers.get("x-request-id") === request_id);
  assert.equal(response.headers.get("x-surefoot-attempts"), "1");
});

test("a stream of %", MODELS, async (model) => {
  const { data: stream, request_id } = await chat.create(question(model, { stream: true })).withResponse();
  const chunks = await collect(stream);
  assert.ok(request_id);
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), "echo: hello");
  assert.deepEqual(chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean), ["stop"]);
  assert.ok(chunks.every((chunk) => chunk.object === "chat.completion.chunk" && !chunk.usage));
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
});

test("a stream of % with its usage", MODELS, async (model) => {
  const stream = await chat.create(question(model, { stream: true, stream_options: { include_usage: true } }));
  const last = (await collect(stream)).at(-1);
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.total_tokens, last.usage.prompt_tokens + last.usage.completion_tokens);
  assert.ok(last.usage.completion_tokens > 0);
});

test("a stream of % gathered by the SDK", MODELS, async (model) => {
  const stream = chat.stream(question(model));
  let text = "";
  stream.on("content", (delta) => (text += delta));
  const whole = await stream.finalChatCompletion();
  assert.equal(text, "echo: hello");
  assert.equal(whole.choices[0].message.content, "echo: hello");
  assert.equal(whole.choices[0].finish_reason, "stop");
});

test("several choices", async () => {
  const whole = await chat.create(question("gpt-x", { n: 3 }));
  assert.deepEqual(whole.choices.map((choice) => choice.index), [0, 1, 2]);
  const streamed = await chat.stream(question("gpt-x", { n: 2 })).finalChatCompletion();
  assert.deepEqual(streamed.choices.map((choice) => choice.message.content), ["echo: hello", "echo: hello"]);
});

test("a long body to %", ["gpt-x", "claude-x"], async (model) => {
  const image = "data:image/png;base64," + "iVBORw0KGgo=".repeat(700000);
  const content = [{ type: "text", text: "what is this?" }, { type: "image_url", image_url: { url: image } }];
  const answer = await chat.create(question(model, { messages: [{ role: "user", content }] }));
  assert.equal(answer.choices[0].message.content, "echo: what is this?");
});

test("fields of the SDK that nobody knows of go through", async () => {
  await chat.create(question("gpt-x", { novelty: { deep: [1, null, "é"] } }));
  const body = JSON.parse((await provider.counters()).last_body);
  assert.deepEqual(body.novelty, { deep: [1, null, "é"] });
});

// --- tools and structured output

test("a tool is called by %", MODELS, async (model) => {
  const messages = [{ role: "user", content: "call tool weather" }];
  const first = await chat.create({ model, messages, tools: [TOOL] });
  const { message, finish_reason } = first.choices[0];
  assert.equal(finish_reason, "tool_calls");
  assert.equal(message.tool_calls.length, 1);
  assert.ok(message.tool_calls[0].id && message.tool_calls[0].type === "function");
  assert.equal(message.tool_calls[0].function.name, "weather");
  isTrip(JSON.parse(message.tool_calls[0].function.arguments));
  messages.push(message, { role: "tool", tool_call_id: message.tool_calls[0].id, content: "rain" });
  const second = await chat.create({ model, messages, tools: [TOOL] });
  assert.match(second.choices[0].message.content, /^echo: .*rain/);
  assert.equal(second.choices[0].finish_reason, "stop");
});

test("a tool is called in a stream of %", MODELS, async (model) => {
  const messages = [{ role: "user", content: "call tool weather, call tool weather" }];
  const whole = await chat.stream({ model, messages, tools: [TOOL] }).finalChatCompletion();
  const { message, finish_reason } = whole.choices[0];
  assert.equal(finish_reason, "tool_calls");
  assert.equal(message.tool_calls.length, 2);
  assert.equal(new Set(message.tool_calls.map((call) => call.id)).size, 2);
  for (const call of message.tool_calls) isTrip(JSON.parse(call.function.arguments));
});

test("the SDK runs tools with %", MODELS, async (model) => {
  let asked;
  const run = (trip) => {
    asked = trip;
    return "sunshine";
  };
  const runner = chat.runTools({
    model, messages: [{ role: "user", content: "call tool weather" }],
    tools: [{ ...TOOL, function: { ...TOOL.function, function: run, parse: JSON.parse } }],
  });
  assert.match(await runner.finalContent(), /^echo: .*sunshine/);
  isTrip(asked);
});

test("structured output of %", MODELS, async (model) => {
  const whole = await chat.parse(question(model, { response_format: FORMAT }));
  isTrip(JSON.parse(whole.choices[0].message.content));
  const streamed = await chat.stream(question(model, { response_format: FORMAT })).finalChatCompletion();
  isTrip(JSON.parse(streamed.choices[0].message.content));
});

// --- leaving

test("an abort in mid-stream reaches the provider of %", MODELS, async (model) => {
  await provider.profile({ answer: { chunks: 200, bytes: 4000, chunk_delay: 0.05 } });
  const stream = await chat.create(question(model, { stream: true }));
  let chunks = 0;
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta.content && ++chunks === 2) stream.controller.abort();
  }
  assert.ok(chunks >= 2 && chunks < 100, chunks);
  await provider.wait((counters) => counters.aborted === 1 && counters.in_flight === 0);
});

test("who breaks out of a stream leaves", async () => {
  await provider.profile({ answer: { chunks: 200, bytes: 4000, chunk_delay: 0.05 } });
  for await (const chunk of await chat.create(question("gpt-x", { stream: true }))) {
    if (chunk.choices[0]?.delta.content) break;
  }
  await provider.wait((counters) => counters.aborted === 1 && counters.in_flight === 0);
});

test("an abort before the answer reaches the provider", async () => {
  await provider.profile({ delay: 30 });
  const controller = new AbortController();
  const answer = chat.create(question("gpt-x"), { signal: controller.signal });
  const failed = fails(answer, OpenAI.APIUserAbortError);
  await provider.wait((counters) => counters.in_flight === 1);
  controller.abort();
  await failed;
  await provider.wait((counters) => counters.aborted === 1 && counters.in_flight === 0);
});

test("the SDK's timeout ends the call at the provider", async () => {
  await provider.profile({ delay: 30 });
  await fails(chat.create(question("gpt-x"), { timeout: 300 * place.pace }), OpenAI.APIConnectionTimeoutError);
  await provider.wait((counters) => counters.aborted === 1 && counters.in_flight === 0);
});

// --- failures

const STATUSES = {
  400: OpenAI.BadRequestError, 401: OpenAI.AuthenticationError, 403: OpenAI.PermissionDeniedError,
  404: OpenAI.NotFoundError, 409: OpenAI.ConflictError, 413: OpenAI.APIError,
  422: OpenAI.UnprocessableEntityError, 429: OpenAI.RateLimitError,
  500: OpenAI.InternalServerError, 502: OpenAI.InternalServerError,
  503: OpenAI.InternalServerError, 529: OpenAI.InternalServerError,
};

test("status % of the provider", Object.keys(STATUSES), async (code) => {
  for (const model of MODELS) {
    await provider.profile({ status: { code: Number(code) } });
    for (const more of [{}, { stream: true }]) {
      const error = await fails(chat.create(question(model, more)), STATUSES[code]);
      assert.equal(error.status, Number(code));
      assert.ok(error.error.message && error.type && "param" in error && error.requestID);
    }
  }
});

test("no answer is a status, too", async () => {
  await provider.profile({ fault: "reset" });
  assert.equal((await fails(chat.create(question("gpt-x")), OpenAI.InternalServerError)).status, 502);
  await provider.profile({ fault: "hang" });
  assert.equal((await fails(chat.create(question("hasty-x")), OpenAI.InternalServerError)).status, 504);
});

test("a wrong key", async () => {
  const stranger = new OpenAI({ apiKey: "sk-nobody", baseURL: place.gateway + "/v1" });
  const error = await fails(stranger.chat.completions.create(question("gpt-x")), OpenAI.AuthenticationError);
  assert.equal(error.code, "invalid_api_key");
  await fails(stranger.models.list(), OpenAI.AuthenticationError);
});

test("a model that the key may not use", async () => {
  const error = await fails(chat.create(question("secret-x")), OpenAI.PermissionDeniedError, /secret-x/);
  assert.equal(error.param, "model");
});

test("a model that nobody serves", async () => {
  const error = await fails(chat.create(question("nowhere")), OpenAI.NotFoundError, /nowhere/);
  assert.equal(error.code, "model_not_found");
  await fails(client.get("/nothing"), OpenAI.NotFoundError);
});

test("what cannot be asked", async () => {
  await fails(chat.create({ messages: [] }), OpenAI.BadRequestError, /model/);
  await fails(chat.create({ model: "claude-x" }), OpenAI.BadRequestError, /messages/);
});

test("the SDK asks again where that helps, and only there", async () => {
  const fetch = counting();
  const patient = new OpenAI({ apiKey: KEY, baseURL: place.gateway + "/v1", maxRetries: 2, fetch });
  await provider.profile({ status: { code: 400 } });
  await fails(patient.chat.completions.create(question("gpt-x")), OpenAI.BadRequestError);
  assert.equal(fetch.calls, 1);
  await provider.profile({ sequence: [{ status: { code: 429, headers: { "retry-after": "1" } } }] });
  fetch.calls = 0;
  const answer = await patient.chat.completions.create(question("gpt-x"));
  assert.equal(answer.choices[0].message.content, "echo: hello");
  assert.equal(fetch.calls, 2);
});

test("an error in the stream of %", MODELS, async (model) => {
  await provider.profile({ answer: { chunks: 8 }, stream: { error_after: 3 } });
  const stream = await chat.create(question(model, { stream: true }));
  const error = await fails(collect(stream), OpenAI.APIError);
  assert.ok(error.error.message && error.type, JSON.stringify(error));
});

test("a stream of % that is cut is no whole one", MODELS, async (model) => {
  await provider.profile({ answer: { chunks: 8 }, stream: { cut_after: 3 } });
  const stream = await chat.create(question(model, { stream: true }));
  await fails(collect(stream), OpenAI.APIError);
  await provider.profile({ answer: { chunks: 8 }, stream: { end_after: 3 } });
  await fails(chat.stream(question(model)).finalChatCompletion(), OpenAI.APIError);
});

// --- embeddings and models

test("embeddings", async () => {
  const one = await client.embeddings.create({ model: "gpt-x", input: "hello" });
  assert.ok(Array.isArray(one.data[0].embedding) && one.data[0].embedding.length > 0);
  assert.ok(one.data[0].embedding.every((number) => typeof number === "number" && Math.abs(number) <= 1));
  assert.ok(one.usage.prompt_tokens > 0);
  const many = await client.embeddings.create({ model: "gpt-x", input: ["a", "b", "c"], encoding_format: "float" });
  assert.deepEqual(many.data.map((row) => row.index), [0, 1, 2]);
});

test("embeddings of a provider with a format of its own", async () => {
  const many = await client.embeddings.create({ model: "gemini-x", input: ["a", "b"] });
  assert.equal(many.data.length, 2);
  for (const row of many.data) {
    assert.ok(row.embedding.length > 0 && row.embedding.every((number) => typeof number === "number"));
  }
});

test("an error of embeddings", async () => {
  await provider.profile({ status: { code: 429 } });
  await fails(client.embeddings.create({ model: "gpt-x", input: "a" }), OpenAI.RateLimitError);
});

test("models", async () => {
  const names = (await collect(client.models.list())).map((model) => model.id);
  for (const model of MODELS) assert.ok(names.includes(model), model);
  assert.ok(!names.includes("secret-x"));
  const one = await client.models.retrieve("gpt-x");
  assert.equal(one.id, "gpt-x");
  assert.equal(one.object, "model");
  await fails(client.models.retrieve("nowhere"), OpenAI.NotFoundError);
});

await main();
