// 64 callers of the Node client, each with one sentence a call. Usage: node callers.mjs URL CALLS [SECONDS]
//
// Every caller makes CALLS calls, and more until SECONDS have passed. "answered" is written to standard output with the
// first answer. The last line is JSON: the number of calls, the failures, and the smallest cosine to the golden
// vectors.

import { readFileSync } from "node:fs";

import { SentenceEncoder } from "../../client/node/dist/esm/index.js";
import { cosine } from "../../client/node/dist/esm/similarity.js";

const [url, calls, seconds = "0"] = process.argv.slice(2);
const { sentences } = JSON.parse(readFileSync(new URL("conformance.json", import.meta.url), "utf8"));
const golden = sentences.slice(0, 64).map(({ text, vector }) => {
  const bytes = new Uint8Array(Buffer.from(vector, "base64"));
  return { text, vector: new Float32Array(bytes.buffer) };
});

const encoder = new SentenceEncoder(url, { timeoutS: 60 });
await encoder.info();
const end = Date.now() + 1000 * Number(seconds);
const result = { calls: 0, failures: [], minCosine: 1 };

async function caller({ text, vector }) {
  for (let call = 0; call < Number(calls) || Date.now() < end; call++) {
    result.calls += 1;
    try {
      result.minCosine = Math.min(result.minCosine, cosine(await encoder.encode(text), vector));
    } catch (error) {
      result.failures.push(String(error));
    }
    if (result.calls === golden.length) console.log("answered");
  }
}

await Promise.all(golden.map(caller));
encoder.close();
console.log(JSON.stringify(result));
