// What this client adds to the conformance cases, against the server at $SENTRITON_URL.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { after, describe, test } from "node:test";

import { ContractMismatch, InvalidInput, SentenceEncoder, SentritonError, ServerUnavailable } from "sentriton";

const url = process.env.SENTRITON_URL;

function open(target = url, options = {}) {
  const encoder = new SentenceEncoder(target, options);
  after(() => encoder.close());
  return encoder;
}

describe("SentenceEncoder", () => {
  test("info is the manifest in this language's names", async () => {
    const info = await open().info();
    assert.match(info.fingerprint, /^[0-9a-f]{64}$/);
    assert.deepEqual(
      [info.dimension, info.maxBatchSize, info.similarity, info.defaultPromptName, info.includePrompt],
      [256, 64, "cosine", null, true],
    );
  });

  test("health compares golden vectors", async () => {
    const { manifest, minCosine } = await open().health();
    assert.ok(minCosine > 0.99999, String(minCosine));
    assert.equal(manifest.dimension, 256);
  });

  test("health says when nobody is there", async () => {
    await assert.rejects(open("127.0.0.1:1").health(2), ServerUnavailable);
  });

  test("queries and documents have their prompts", async () => {
    const encoder = open();
    const plain = await encoder.encode("문장");
    assert.deepEqual(await encoder.encodeQuery("문장"), plain);
    assert.deepEqual(await encoder.encodeDocument(["문장"]), [plain]);
  });

  test("several servers share the work, and one that is away is passed over", async () => {
    const taken = createServer((socket) => socket.destroy());
    await new Promise((resolve) => taken.listen(0, "127.0.0.1", resolve));
    after(() => taken.close());
    const dead = `127.0.0.1:${taken.address().port}`;
    const encoder = open(`${dead},${url},${url}`);
    const sentences = Array.from({ length: 50 }, (_, number) => `문장 ${number}`);
    const alone = await open().encode(sentences);
    const found = await encoder.encode(sentences, { batchSize: 1 });
    found.forEach((row, place) => row.forEach((value, at) => assert.ok(Math.abs(value - alone[place][at]) < 1e-5)));
  });

  test("another model is a contract mismatch", async () => {
    const encoder = open();
    const info = await encoder.info();
    encoder.reading = Promise.resolve({ ...info, fingerprint: "0".repeat(64) });
    await assert.rejects(encoder.encode("문장"), (error) => error instanceof ContractMismatch && error instanceof InvalidInput);
  });

  test("an aborted call ends at once with the signal's reason", async () => {
    const encoder = open();
    await encoder.info();
    const reason = new Error("the user left");
    const signal = AbortSignal.timeout(1);
    const sentences = Array.from({ length: 20_000 }, (_, number) => `${number}번째 문장입니다`);
    await assert.rejects(encoder.encode(sentences, { signal }), { name: "TimeoutError" });
    await assert.rejects(encoder.encode("문장", { signal: AbortSignal.abort(reason) }), reason);
    assert.equal((await encoder.encode("문장")).length, 256);
  });

  test("a call that runs out of time says how far it got", async () => {
    const encoder = open();
    const sentences = Array.from({ length: 20_000 }, (_, number) => `${number}번째 문장입니다`);
    await assert.rejects(encoder.encode(sentences, { timeoutS: 1 }), {
      name: "DeadlineExceeded",
      message: /\([\d,]+ of 20,000 sentences were embedded\)$/,
    });
  });

  test("a closed encoder says so, also to calls under way", async () => {
    const encoder = new SentenceEncoder(url);
    await encoder.info();
    const underWay = encoder.encode(Array.from({ length: 5000 }, (_, number) => `${number}번째 문장`));
    setTimeout(() => encoder.close(), 50);
    const closed = (error) => error.constructor === SentritonError && /this encoder is closed/.test(error.message);
    await assert.rejects(underWay, closed);
    await assert.rejects(encoder.encode("문장"), closed);
    await assert.rejects(encoder.info(), closed);
  });

  test("a server that appears later is found by the next call", async () => {
    const { port } = await new Promise((resolve) => {
      const probe = createServer().listen(0, "127.0.0.1", () => {
        const address = probe.address();
        probe.close(() => resolve(address));
      });
    });
    const encoder = open(`127.0.0.1:${port}`);
    await assert.rejects(encoder.encode("문장"), ServerUnavailable);
    const [host, target] = url.split(":");
    const { connect } = await import("node:net");
    const proxy = createServer((socket) => {
      const upstream = connect(Number(target), host);
      socket.pipe(upstream).pipe(socket);
      socket.on("error", () => upstream.destroy());
      upstream.on("error", () => socket.destroy());
    });
    await new Promise((resolve) => proxy.listen(port, "127.0.0.1", resolve));
    after(() => proxy.close());
    const until = Date.now() + 10_000;
    let found;
    while (found === undefined && Date.now() < until) found = await encoder.encode("문장").catch(() => undefined);
    assert.equal(found?.length, 256);
  });

  test("CommonJS has the same package", async () => {
    const commonjs = createRequire(import.meta.url)("sentriton");
    assert.deepEqual(Object.keys(commonjs).sort(), Object.keys(await import("sentriton")).sort());
    const encoder = new commonjs.SentenceEncoder(url);
    after(() => encoder.close());
    assert.equal((await encoder.encode("문장")).length, 256);
  });
});
