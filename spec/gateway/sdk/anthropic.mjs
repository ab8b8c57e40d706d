// Anthropic's SDK for node before the gateway: messages, in front of providers of every format.
import { KEY, MODELS, assert, collect, counting, fails, load, main, place, provider, test } from "./check.mjs";

const { default: Anthropic } = load("@anthropic-ai/sdk");
const client = new Anthropic({ apiKey: KEY, baseURL: place.gateway, maxRetries: 0 });
const question = (model, more) => ({
  model, max_tokens: 1000, messages: [{ role: "user", content: "hello" }], ...more,
});

const SCHEMA = {
  type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city", "days"],
  additionalProperties: false,
};
const TOOL = { name: "weather", description: "The weather of a city", input_schema: SCHEMA };

function isTrip(value) {
  assert.equal(typeof value.city, "string");
  assert.ok(Number.isInteger(value.days));
}

const textOf = ({ content }) => content.map((block) => (block.type === "text" ? block.text : "")).join("");

function isWhole(message, text) {
  assert.equal(textOf(message), text);
  assert.equal(message.type, "message");
  assert.equal(message.role, "assistant");
  assert.equal(message.stop_reason, "end_turn");
  assert.equal(message.stop_sequence, null);
  assert.ok(message.id && message.model);
  assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
}

test("an answer of %", MODELS, async (model) => {
  const { data, response, request_id } = await client.messages.create(question(model, { system: "Be brief." }))
    .withResponse();
  isWhole(data, "echo: hello");
  assert.ok(request_id && data._request_id === request_id && response.headers.get("x-request-id") === request_id);
});

test("a key as a bearer token", async () => {
  const bearer = new Anthropic({ apiKey: null, authToken: KEY, baseURL: place.gateway });
  isWhole(await bearer.messages.create(question("claude-x")), "echo: hello");
});

test("the beta namespace", async () => {
  isWhole(await client.beta.messages.create(question("claude-x", { betas: ["context-1m-2025-08-07"] })), "echo: hello");
});

test("the events of a stream of %", MODELS, async (model) => {
  const events = await collect(await client.messages.create(question(model, { stream: true })));
  const types = events.map((event) => event.type);
  assert.equal(types[0], "message_start");
  assert.equal(types[1], "content_block_start");
  assert.deepEqual(types.slice(-3), ["content_block_stop", "message_delta", "message_stop"]);
  const start = events[0].message;
  assert.ok(start.id && start.model && start.role === "assistant" && start.stop_reason === null);
  assert.deepEqual(start.content, []);
  assert.ok(Number.isInteger(start.usage.input_tokens) && Number.isInteger(start.usage.output_tokens));
  const deltas = events.filter((event) => event.type === "content_block_delta");
  assert.equal(deltas.map((event) => event.delta.text).join(""), "echo: hello");
  assert.equal(events.at(-2).delta.stop_reason, "end_turn");
  assert.ok(events.at(-2).usage.output_tokens > 0);
});

test("a stream of % gathered by the SDK", MODELS, async (model) => {
  const stream = client.messages.stream(question(model));
  let text = "";
  stream.on("text", (delta) => (text += delta));
  const message = await stream.finalMessage();
  assert.equal(text, "echo: hello");
  assert.equal(textOf(message), "echo: hello");
  assert.equal(message.stop_reason, "end_turn");
  assert.ok(message.usage.output_tokens > 0);
  assert.ok(stream.request_id);
});

test("a tool is called by %", MODELS, async (model) => {
  const messages = [{ role: "user", content: "call tool weather" }];
  const first = await client.messages.create(question(model, { messages, tools: [TOOL] }));
  assert.equal(first.stop_reason, "tool_use");
  const use = first.content.find((block) => block.type === "tool_use");
  assert.equal(use.name, "weather");
  isTrip(use.input);
  messages.push({ role: "assistant", content: first.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "rain" }] });
  const second = await client.messages.create(question(model, { messages, tools: [TOOL] }));
  assert.match(textOf(second), /^echo: .*rain/);
  assert.equal(second.stop_reason, "end_turn");
});

test("a tool is called in a stream of %", MODELS, async (model) => {
  const messages = [{ role: "user", content: "call tool weather, call tool weather" }];
  const message = await client.messages.stream(question(model, { messages, tools: [TOOL] })).finalMessage();
  assert.equal(message.stop_reason, "tool_use");
  const uses = message.content.filter((block) => block.type === "tool_use");
  assert.equal(uses.length, 2);
  assert.equal(new Set(uses.map((use) => use.id)).size, 2);
  for (const use of uses) isTrip(use.input);
});

test("the SDK runs tools with %", MODELS, async (model) => {
  let asked;
  const run = async (trip) => {
    asked = trip;
    return "sunshine";
  };
  const messages = [{ role: "user", content: "call tool weather" }];
  const last = await client.beta.messages.toolRunner(question(model, { messages, tools: [{ ...TOOL, run }] }));
  assert.match(textOf(last), /^echo: .*sunshine/);
  isTrip(asked);
});

test("structured output of %", MODELS, async (model) => {
  const more = { output_config: { format: { type: "json_schema", schema: SCHEMA } } };
  isTrip(JSON.parse(textOf(await client.messages.parse(question(model, more)))));
  isTrip(JSON.parse(textOf(await client.messages.stream(question(model, more)).finalMessage())));
});

test("a length limit of %", MODELS, async (model) => {
  await provider.profile({ answer: { bytes: 400 } });
  assert.equal((await client.messages.create(question(model, { max_tokens: 20 }))).stop_reason, "max_tokens");
  const streamed = await client.messages.stream(question(model, { max_tokens: 20 })).finalMessage();
  assert.equal(streamed.stop_reason, "max_tokens");
});

test("thinking, and what it was signed with", async () => {
  const more = { max_tokens: 4000, thinking: { type: "enabled", budget_tokens: 1024 } };
  const message = await client.messages.stream(question("claude-x", more)).finalMessage();
  assert.equal(message.content[0].type, "thinking");
  assert.ok(message.content[0].thinking && message.content[0].signature);
  const messages = [{ role: "user", content: "hello" }, { role: "assistant", content: message.content },
    { role: "user", content: "and again" }];
  isWhole(await client.messages.create(question("claude-x", { ...more, messages })).then((next) => ({
    ...next, content: next.content.filter((block) => block.type === "text"),
  })), "echo: and again");
  const sent = JSON.parse((await provider.counters()).last_body);
  assert.equal(sent.messages[1].content[0].signature, message.content[0].signature);
});

test("an image to %", ["claude-x", "gpt-x", "gemini-x"], async (model) => {
  const data = "iVBORw0KGgo=".repeat(400000);
  const content = [{ type: "image", source: { type: "base64", media_type: "image/png", data } },
    { type: "text", text: "what is this?" }];
  const messages = [{ role: "user", content }];
  isWhole(await client.messages.create(question(model, { messages })), "echo: what is this?");
});

// --- leaving

test("an abort in mid-stream reaches the provider of %", MODELS, async (model) => {
  await provider.profile({ answer: { chunks: 200, bytes: 4000, chunk_delay: 0.05 } });
  const stream = await client.messages.create(question(model, { stream: true, max_tokens: 4000 }));
  let deltas = 0;
  for await (const event of stream) {
    if (event.type === "content_block_delta" && ++deltas === 2) stream.controller.abort();
  }
  assert.ok(deltas >= 2 && deltas < 100, deltas);
  await provider.wait((counters) => counters.aborted === 1 && counters.in_flight === 0);
});

test("an abort before the answer reaches the provider", async () => {
  await provider.profile({ delay: 30 });
  const controller = new AbortController();
  const failed = fails(client.messages.create(question("claude-x"), { signal: controller.signal }),
    Anthropic.APIUserAbortError);
  await provider.wait((counters) => counters.in_flight === 1);
  controller.abort();
  await failed;
  await provider.wait((counters) => counters.aborted === 1 && counters.in_flight === 0);
});

// --- failures

const STATUSES = {
  400: [Anthropic.BadRequestError, "invalid_request_error"],
  401: [Anthropic.AuthenticationError, "authentication_error"],
  403: [Anthropic.PermissionDeniedError, "permission_error"], 404: [Anthropic.NotFoundError, "not_found_error"],
  413: [Anthropic.ContentTooLargeError, "request_too_large"],
  422: [Anthropic.UnprocessableEntityError, "invalid_request_error"],
  429: [Anthropic.RateLimitError, "rate_limit_error"], 500: [Anthropic.InternalServerError, "api_error"],
  503: [Anthropic.ServiceUnavailableError, "^(api|overloaded)_error$"],
  529: [Anthropic.OverloadedError, "overloaded_error"],
};

test("status % of the provider", Object.keys(STATUSES), async (code) => {
  const [wanted, type] = STATUSES[code];
  for (const model of MODELS) {
    await provider.profile({ status: { code: Number(code) } });
    for (const more of [{}, { stream: true }]) {
      const error = await fails(client.messages.create(question(model, more)), wanted);
      assert.equal(error.status, Number(code));
      assert.equal(error.error.type, "error");
      assert.match(error.type, new RegExp(type));
      assert.ok(error.error.error.message && error.requestID, JSON.stringify(error));
    }
  }
});

test("a wrong key", async () => {
  const stranger = new Anthropic({ apiKey: "sk-nobody", baseURL: place.gateway });
  const error = await fails(stranger.messages.create(question("claude-x")), Anthropic.AuthenticationError);
  assert.equal(error.type, "authentication_error");
});

test("models that are not for this caller", async () => {
  const error = await fails(client.messages.create(question("secret-x")), Anthropic.PermissionDeniedError, /secret-x/);
  assert.equal(error.type, "permission_error");
  await fails(client.messages.create(question("nowhere")), Anthropic.NotFoundError, /nowhere/);
});

test("what cannot be asked", async () => {
  const nameless = { max_tokens: 10, messages: [] };
  const error = await fails(client.messages.create(nameless), Anthropic.BadRequestError, /model/);
  assert.equal(error.type, "invalid_request_error");
  await fails(client.messages.create({ model: "gpt-x", max_tokens: 10 }), Anthropic.BadRequestError, /messages/);
});

test("the SDK does not ask again where that is of no use", async () => {
  const fetch = counting();
  const patient = new Anthropic({ apiKey: KEY, baseURL: place.gateway, maxRetries: 2, fetch });
  await provider.profile({ status: { code: 400 } });
  await fails(patient.messages.create(question("claude-x")), Anthropic.BadRequestError);
  assert.equal(fetch.calls, 1);
});

test("an error in the stream of %", MODELS, async (model) => {
  await provider.profile({ answer: { chunks: 8 }, stream: { error_after: 3 } });
  const stream = await client.messages.create(question(model, { stream: true }));
  const error = await fails(collect(stream), Anthropic.APIError);
  assert.ok(error.error.error.message && error.type, JSON.stringify(error));
});

test("a stream of % that is cut is no whole one", MODELS, async (model) => {
  for (const stream of [{ cut_after: 3 }, { end_after: 3 }]) {
    await provider.profile({ answer: { chunks: 8 }, stream });
    await fails(collect(await client.messages.create(question(model, { stream: true }))), Anthropic.APIError);
    let message;
    await client.messages.stream(question(model)).finalMessage().then((whole) => (message = whole), () => {});
    assert.equal(message, undefined);
  }
});

test("models", async () => {
  const models = await collect(client.models.list());
  const names = models.map((model) => model.id);
  for (const model of MODELS) assert.ok(names.includes(model), model);
  for (const model of models) {
    assert.equal(model.type, "model");
    assert.ok(model.display_name && Date.parse(model.created_at) > 0, model);
  }
  const one = await client.models.retrieve("claude-x");
  assert.equal(one.id, "claude-x");
  await fails(client.models.retrieve("nowhere"), Anthropic.NotFoundError);
});

await main();
