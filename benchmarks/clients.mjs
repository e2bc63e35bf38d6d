// The Node client's part of benchmarks.clients: node clients.mjs URL CALLERS SECONDS, with sentences as JSON on standard
// input. It prints the figures of `measure` in clients.py.

import { readFileSync } from "node:fs";

import { SentenceEncoder } from "../client/node/dist/esm/index.js";

const WARM_UP_S = 1;
const [url, callers, seconds] = process.argv.slice(2);
const sentences = JSON.parse(readFileSync(0, "utf8"));
const encoder = new SentenceEncoder(url);
await encoder.encode(sentences.slice(0, 1000));

/** Wall time and CPU time since a moment, in seconds. */
function watch() {
  const began = performance.now();
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return { wallS: (performance.now() - began) / 1e3, cpuS: (user + system) / 1e6 };
  };
}

const listWatch = watch();
await encoder.encode(sentences);
const list = listWatch();

let answered = 0;
const end = performance.now() + 1e3 * (WARM_UP_S + Number(seconds));
async function call(_, caller) {
  for (let place = 37 * caller; performance.now() < end; place++) {
    await encoder.encode(sentences[place % sentences.length]);
    answered++;
  }
}
const sleep = (s) => new Promise((resolve) => setTimeout(resolve, 1e3 * s));
const calling = Array.from({ length: Number(callers) }, call);
await sleep(WARM_UP_S);
const before = answered;
const singleWatch = watch();
await sleep(Number(seconds));
const count = answered - before;
const single = singleWatch();
await Promise.all(calling);
encoder.close();
console.log(
  JSON.stringify({
    list_per_s: sentences.length / list.wallS,
    list_cpu_us: (1e6 * list.cpuS) / sentences.length,
    single_per_s: count / single.wallS,
    single_cpu_us: (1e6 * single.cpuS) / count,
  }),
);
