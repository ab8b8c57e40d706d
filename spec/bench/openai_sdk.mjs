// The load of raw_stream.c through OpenAI's own SDK for node: every event decoded and its text read.
//
//   node openai_sdk.mjs FOLDER_OF_NODE_MODULES URL BODY_FILE IN_FLIGHT 0 SECONDS
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const SETTLING_S = 2;
const [folder, url, bodyPath, inFlight, , seconds] = process.argv.slice(2);
const { default: OpenAI } = createRequire(folder + "/")("openai");
const client = new OpenAI({ apiKey: "sk-0123456789abcdef", baseURL: url, maxRetries: 0 });
const request = { ...JSON.parse(readFileSync(bodyPath, "utf8")), stream: true };

let chunks = 0, begun = 0, ended = 0;

async function read() {
  let first = true;
  for await (const chunk of await client.chat.completions.create(request)) {
    if (first) begun++;
    first = false;
    if (chunk.choices[0]?.delta?.content) chunks++;
  }
}

for (let i = 0; i < Number(inFlight); i++) {
  read().catch((error) => console.error(String(error))).finally(() => ended++); // none is meant to end
}
while (begun < Number(inFlight) && ended === 0) await sleep(50);
await sleep(SETTLING_S * 1000);
chunks = 0;
const usage = process.cpuUsage(), began = performance.now();
await sleep(Number(seconds) * 1000);
const { user, system } = process.cpuUsage(usage);
console.log(JSON.stringify({
  errors: ended, chunks, wall_s: (performance.now() - began) / 1e3,
  cpu_us_per_chunk: chunks > 0 ? (user + system) / chunks : 0, rss_kb: Math.round(process.memoryUsage.rss() / 1024),
}));
process.exit(0);
