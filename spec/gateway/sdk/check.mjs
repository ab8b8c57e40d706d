// What the programs of this folder share: tests by name, the gateway, the provider behind it. Each test is told by one
// line of JSON: { name, problem }.
//
//   node PROGRAM.mjs FOLDER_OF_NODE_MODULES '{ "gateway": URL, "control": URL of the provider, "pace": N }'
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const [folder, given] = process.argv.slice(2);
export const place = JSON.parse(given);
export const load = createRequire(folder + "/");
export { assert };

// A model for each format that a provider behind the gateway speaks.
export const MODELS = ["gpt-x", "claude-x", "gemini-x", "items-x", "azure-x"];
export const KEY = "sk-callers-0123456789";

async function control(method, path, body) {
  const response = await fetch(place.control + path, { method, body: body && JSON.stringify(body) });
  assert.equal(response.status, 200, await response.clone().text());
  return response.json();
}

export const provider = {
  profile: (profile) => control("PUT", "/lines/a/profile", profile),
  counters: () => control("GET", "/lines/a/counters"),
  // Waits until the counters are so.
  async wait(check) {
    const end = Date.now() + 10000 * place.pace;
    for (;;) {
      const counters = await provider.counters();
      if (check(counters)) return counters;
      assert.ok(Date.now() < end, "the provider's counters stay at " + JSON.stringify(counters));
      await sleep(10);
    }
  },
};

// A fetch for an SDK that counts what it sends.
export function counting() {
  const count = async (...call) => {
    count.calls++;
    return fetch(...call);
  };
  count.calls = 0;
  return count;
}

export async function collect(iterable) {
  const all = [];
  for await (const one of iterable) all.push(one);
  return all;
}

// Rejects with an error of exactly this class; gives the error.
export async function fails(promise, wanted, message) {
  let error;
  try {
    await promise;
  } catch (caught) {
    error = caught;
  }
  assert.ok(error, `no error, ${wanted.name} was expected`);
  assert.equal(error.constructor.name, wanted.name, `${error.constructor.name}: ${error.message}`);
  if (message) assert.match(error.message, message);
  return error;
}

const tests = [];

// A name may hold %, which stands for each of a list.
export function test(name, each, run) {
  if (!run) return tests.push({ name, run: each });
  for (const one of each) tests.push({ name: name.replace("%", one), run: () => run(one) });
}

export async function main() {
  for (const { name, run } of tests) {
    let problem = null;
    await control("POST", "/reset");
    try {
      await Promise.race([run(), sleep(30000 * place.pace, null, { ref: false }).then(() => {
        throw new Error("it takes too long");
      })]);
    } catch (error) {
      problem = String(error.stack ?? error);
    }
    console.log(JSON.stringify({ name, problem }));
  }
  process.exit(0); // also when a connection is open still
}
