// Compiled and never called: the types that callers of the ES module see. types.cts is the same for CommonJS.

import { type ClientOptions, type HealthReport, InvalidInput, type Manifest, SentenceEncoder } from "sentriton";

export async function typed(): Promise<void> {
  const options: ClientOptions = { timeoutS: 3, priority: "bulk" };
  const encoder: SentenceEncoder = new SentenceEncoder("host:1", options);
  const one: Float32Array = await encoder.encode("text", { truncateDim: 3, signal: AbortSignal.timeout(10) });
  const rows: Float32Array[] = await encoder.encodeQuery(["text"] as const);
  const scores: Float32Array[] = await encoder.similarity([one, [1, 2, 3]], rows);
  const { dimension }: Manifest = await encoder.info();
  const { minCosine }: HealthReport = await encoder.health(2);
  const wrong: Error = new InvalidInput(`${dimension} ${minCosine} ${scores.length}`);
  // @ts-expect-error: sentences are strings
  await encoder.encode([wrong]);
  // @ts-expect-error: this lane does not exist
  new SentenceEncoder("host:1", { priority: "fast" });
}
