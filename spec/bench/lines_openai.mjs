// The load of one row of lines_bench.lua by OpenAI's own SDK for node, with its own retries: the same workers, the same
// starts, the same checks as lines_load.lua. Several lines: one SDK client each, asked in turn. Its pauses between
// attempts, which cannot be configured, follow the scale of the clock.
//
//   node lines_openai.mjs FOLDER_OF_NODE_MODULES JOB.json
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const [folder, path] = process.argv.slice(2);
const { default: OpenAI } = createRequire(folder + "/")("openai");
const job = JSON.parse(readFileSync(path, "utf8"));
const now = () => performance.now() / 1e3;

class Scaled extends OpenAI {
  calculateDefaultRetryTimeoutMillis(...given) {
    return super.calculateDefaultRetryTimeoutMillis(...given) * job.scale;
  }
}
if (typeof OpenAI.prototype.calculateDefaultRetryTimeoutMillis !== "function") {
  throw new Error("this version of the SDK waits in a way that cannot be scaled");
}
const clientOf = (url) => new Scaled({ apiKey: "sk-bench", baseURL: url, timeout: job.timeout * job.scale * 1e3 });
const clients = job.lines.map(({ url }) => clientOf(url));

const FILLER = " Whoever wants every answer keeps count of them all.".repeat(3);
const calls = { start: [], latency: [], outcome: [] };

function outcomeOf(question, answer) {
  const choice = answer?.choices?.[0];
  return choice?.message?.content === "echo: " + question && choice.finish_reason === "stop" ? "ok" : "false";
}

async function ask(number) {
  const question = `call ${number + 1} of ${job.name}.` + FILLER;
  const start = now();
  let outcome;
  try {
    outcome = outcomeOf(question, await clients[number % clients.length].chat.completions.create({
      model: "sim-large", messages: [{ role: "user", content: question }],
    }));
  } catch (error) {
    outcome = error instanceof OpenAI.APIConnectionTimeoutError ? "timeout" : error.status ? String(error.status)
      : error.constructor.name;
  }
  calls.latency[number] = now() - start;
  calls.start[number] = start - began;
  calls.outcome[number] = outcome;
}

// What happens at the first calls only (loading, compiling) is over when the clock starts; the lines hear none of it.
const WARM_UP = 100;
const warm = new OpenAI({ apiKey: "sk-bench", baseURL: job.warm_url });
for (let i = 0; i < WARM_UP; i += job.workers) {
  await Promise.all(Array.from({ length: job.workers }, () =>
    warm.chat.completions.create({ model: "sim-large", messages: [{ role: "user", content: "warm" }] })));
}

writeFileSync(job.output + ".begun", "");
const began = now();
let nextStart = began, number = 0;

async function worker() {
  while (number < job.calls) {
    const mine = number++, at = Math.max(now(), nextStart);
    if (job.starts) {
      nextStart = at + 1 / job.starts;
      if (at > now()) await sleep((at - now()) * 1e3);
    }
    await ask(mine);
  }
}

await Promise.all(Array.from({ length: job.workers }, worker));
calls.wall = now() - began;
writeFileSync(job.output, JSON.stringify(calls));
process.exit(0);
