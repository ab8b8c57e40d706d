// OpenAI's SDK for node before the gateway: responses.
import { KEY, MODELS, assert, collect, fails, load, main, place, provider, test } from "./check.mjs";

const { default: OpenAI } = load("openai");
const client = new OpenAI({ apiKey: KEY, baseURL: place.gateway + "/v1", maxRetries: 0 });
const responses = client.responses;
const question = (model, more) => ({ model, input: "hello", ...more });

const SCHEMA = {
  type: "object", properties: { city: { type: "string" }, days: { type: "integer" } }, required: ["city", "days"],
  additionalProperties: false,
};
const TOOL = {
  type: "function", name: "weather", description: "The weather of a city", parameters: SCHEMA, strict: true,
};
const FORMAT = { format: { type: "json_schema", name: "trip", schema: SCHEMA, strict: true } };

function isTrip(value) {
  assert.equal(typeof value.city, "string");
  assert.ok(Number.isInteger(value.days));
}

function isWhole(response, text) {
  assert.equal(response.output_text, text);
  assert.equal(response.object, "response");
  assert.equal(response.status, "completed");
  assert.equal(response.error, null);
  assert.equal(response.incomplete_details, null);
  assert.ok(response.id && response.model && Number.isInteger(response.created_at));
  assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
  assert.ok(response.usage.output_tokens > 0);
  assert.ok(Array.isArray(response.tools) && "tool_choice" in response && "parallel_tool_calls" in response);
}

test("an answer of %", MODELS, async (model) => {
  const { data, request_id } = await responses.create(question(model)).withResponse();
  isWhole(data, "echo: hello");
  assert.ok(request_id && data._request_id === request_id);
  const message = data.output.find((item) => item.type === "message");
  assert.equal(message.role, "assistant");
  assert.equal(message.status, "completed");
  assert.deepEqual(message.content[0].annotations, []);
});

test("a conversation with %", MODELS, async (model) => {
  const first = await responses.create(question(model, { instructions: "Be brief.", store: false }));
  const input = [{ role: "user", content: "hello" }, ...first.output,
    { role: "user", content: [{ type: "input_text", text: "and again" }] }];
  const second = await responses.create({ model, input, instructions: "Be brief.", store: false });
  isWhole(second, "echo: and again");
});

test("the events of a stream of %", MODELS, async (model) => {
  const events = await collect(await responses.create(question(model, { stream: true })));
  const types = events.map((event) => event.type);
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, i) => i));
  assert.equal(types[0], "response.created");
  assert.equal(types.at(-1), "response.completed");
  const order = ["response.created", "response.in_progress", "response.output_item.added",
    "response.content_part.added", "response.output_text.delta", "response.output_text.done",
    "response.content_part.done", "response.output_item.done", "response.completed"];
  assert.deepEqual(types.filter((type, i) => order.includes(type) && types.indexOf(type) === i), order);
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), "echo: hello");
  assert.equal(events.find((event) => event.type === "response.output_text.done").text, "echo: hello");
  const last = events.at(-1).response;
  assert.equal(last.id, events[0].response.id);
  assert.equal(last.status, "completed");
  const added = events.find((event) => event.type === "response.output_item.added" && event.item.type === "message");
  assert.ok(deltas.every((event) => event.item_id === added.item.id && event.output_index === added.output_index));
  assert.equal(last.output[added.output_index].id, added.item.id);
});

test("a stream of % gathered by the SDK", MODELS, async (model) => {
  const stream = responses.stream(question(model));
  let text = "";
  stream.on("response.output_text.delta", (event) => (text += event.delta));
  isWhole(await stream.finalResponse(), "echo: hello");
  assert.equal(text, "echo: hello");
});

test("a tool is called by %", MODELS, async (model) => {
  const input = [{ role: "user", content: "call tool weather" }];
  const first = await responses.create({ model, input, tools: [TOOL] });
  const call = first.output.find((item) => item.type === "function_call");
  assert.equal(call.name, "weather");
  assert.ok(call.call_id);
  isTrip(JSON.parse(call.arguments));
  input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output: "rain" });
  const second = await responses.create({ model, input, tools: [TOOL] });
  assert.match(second.output_text, /^echo: .*rain/);
});

test("a tool is called in a stream of %", MODELS, async (model) => {
  const input = "call tool weather, call tool weather";
  const events = await collect(await responses.create({ model, input, tools: [TOOL], stream: true }));
  const done = events.filter((event) => event.type === "response.function_call_arguments.done");
  assert.equal(done.length, 2);
  for (const event of done) {
    isTrip(JSON.parse(event.arguments));
    const deltas = events.filter((one) => one.type === "response.function_call_arguments.delta"
      && one.item_id === event.item_id);
    assert.equal(deltas.map((one) => one.delta).join(""), event.arguments);
  }
  const whole = await responses.stream({ model, input, tools: [TOOL] }).finalResponse();
  const calls = whole.output.filter((item) => item.type === "function_call");
  assert.equal(calls.length, 2);
  assert.equal(new Set(calls.map((call) => call.call_id)).size, 2);
  for (const call of calls) isTrip(call.parsed_arguments);
});

test("structured output of %", MODELS, async (model) => {
  const whole = await responses.parse(question(model, { text: FORMAT }));
  isTrip(JSON.parse(whole.output_text));
  const streamed = await responses.stream(question(model, { text: FORMAT })).finalResponse();
  isTrip(JSON.parse(streamed.output_text));
});

test("a length limit of %", MODELS, async (model) => {
  await provider.profile({ answer: { bytes: 400 } });
  const whole = await responses.create(question(model, { max_output_tokens: 20 }));
  assert.equal(whole.status, "incomplete");
  assert.equal(whole.incomplete_details.reason, "max_output_tokens");
  const events = await collect(await responses.create(question(model, { max_output_tokens: 20, stream: true })));
  assert.equal(events.at(-1).type, "response.incomplete");
});

test("reasoning of %", MODELS, async (model) => {
  const more = { reasoning: { effort: "low", summary: "auto" }, max_output_tokens: 4000 };
  const whole = await responses.create(question(model, more));
  isWhole(whole, "echo: hello");
  const streamed = await responses.stream(question(model, more)).finalResponse();
  isWhole(streamed, "echo: hello");
});

test("an abort in mid-stream reaches the provider of %", MODELS, async (model) => {
  await provider.profile({ answer: { chunks: 200, bytes: 4000, chunk_delay: 0.05 } });
  const stream = await responses.create(question(model, { stream: true }));
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") stream.controller.abort();
  }
  await provider.wait((counters) => counters.aborted === 1 && counters.in_flight === 0);
});

const STATUSES = {
  400: OpenAI.BadRequestError, 401: OpenAI.AuthenticationError, 403: OpenAI.PermissionDeniedError,
  404: OpenAI.NotFoundError, 422: OpenAI.UnprocessableEntityError, 429: OpenAI.RateLimitError,
  500: OpenAI.InternalServerError, 529: OpenAI.InternalServerError,
};

test("status % of the provider", Object.keys(STATUSES), async (code) => {
  for (const model of MODELS) {
    await provider.profile({ status: { code: Number(code) } });
    for (const more of [{}, { stream: true }]) {
      const error = await fails(responses.create(question(model, more)), STATUSES[code]);
      assert.equal(error.status, Number(code));
      assert.ok(error.error.message && error.type);
    }
  }
});

test("what cannot be asked", async () => {
  await fails(responses.create({ input: "x" }), OpenAI.BadRequestError, /model/);
  await fails(responses.create({ model: "nowhere", input: "x" }), OpenAI.NotFoundError, /nowhere/);
  await fails(responses.create({ model: "secret-x", input: "x" }), OpenAI.PermissionDeniedError, /secret-x/);
});

test("a stream of % that fails is no whole one", MODELS, async (model) => {
  for (const stream of [{ error_after: 3 }, { cut_after: 3 }, { end_after: 3 }]) {
    await provider.profile({ answer: { chunks: 8 }, stream });
    const events = await responses.create(question(model, { stream: true }));
    const seen = [];
    let error;
    try {
      for await (const event of events) seen.push(event.type);
    } catch (caught) {
      error = caught;
    }
    assert.ok(error || ["error", "response.failed"].includes(seen.at(-1)), `${JSON.stringify(stream)}: ${seen}`);
    assert.ok(!seen.includes("response.completed"));
    let whole;
    try {
      whole = await responses.stream(question(model)).finalResponse();
    } catch (caught) {
      continue;
    }
    assert.equal(whole.status, "failed");
  }
});

await main();
