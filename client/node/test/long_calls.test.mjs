// When a call ends: not while its requests are answered, soon when none is, and with its time where it has one.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { status } from "@grpc/grpc-js";

import { Connection, GRACE_MS } from "../dist/esm/connection.js";
import { assetRequest } from "../dist/esm/protocol.js";
import { resolveSettings } from "../dist/esm/settings.js";
import { MANY, open, silentFrom, small, SOON_S, THREE, timed } from "./fixtures.mjs";
import { vectors, WORDS } from "./small_server.mjs";

describe("a call", () => {
  test("goes on as long as answers come", async () => {
    const server = await small({ delayS: 0.2 });
    const encoder = open(server.address, { stallTimeoutS: 2, maxInFlight: 4 });
    const took = await timed(async () => {
      assert.deepEqual(await encoder.encode(MANY, { batchSize: 8 }), vectors(MANY));
    });
    assert.ok(took > 2, String(took));
    assert.ok(Math.min(...server.timeoutsUs) > 0 && Math.max(...server.timeoutsUs) <= 2_000_000);
  });

  test("without an answer ends and says how far it got", async () => {
    const server = await small({ delayS: 0.02 });
    const encoder = open(server.address, { stallTimeoutS: 1.5 });
    server.refuse = silentFrom(20, server);
    const took = await timed(() =>
      assert.rejects(encoder.encode(WORDS, { batchSize: 4 }), (error) => {
        assert.equal(error.name, "DeadlineExceeded");
        assert.ok(error.message.startsWith(`${server.address} answered no request for 1.5 s; check`), error.message);
        assert.match(error.message, /stallTimeoutS \([1-9][\d,]* of 4,000 sentences were embedded\)$/);
        return true;
      }),
    );
    assert.ok(took >= 1.5 && took < SOON_S, String(took));
    server.refuse = () => undefined;
    server.silent = false;
    assert.deepEqual(await encoder.encode(MANY), vectors(MANY));
  });

  test("ends when it is rejected for as long", async (t) => {
    // Attempts after 0, 0.1, 0.3, 0.7 and 1.5 s; the next pause of 1.6 s is too long, however slow the attempts are.
    t.mock.method(Math, "random", () => 1);
    const full = { code: status.RESOURCE_EXHAUSTED, details: "the query lane is full" };
    const server = await small({ refuse: () => full });
    const took = await timed(() =>
      assert.rejects(open(server.address, { stallTimeoutS: 3.1 }).encode(THREE), {
        name: "Overloaded",
        message: /lane is full \(0 of 3 sentences were embedded\)$/,
      }),
    );
    assert.ok(took < SOON_S, String(took));
    assert.ok(server.received > 1);
  });

  test("sends again what came too late while others are answered", async () => {
    const server = await small();
    server.refuse = (number) => void (server.delayS = number === 0 ? 30 : 0.15);
    const encoder = open(server.address, { stallTimeoutS: 1.5, maxInFlight: 2 });
    const sentences = WORDS.slice(0, 48);
    assert.deepEqual(await encoder.encode(sentences, { batchSize: 4 }), vectors(sentences));
    assert.ok(server.received > 12 && server.received < 2 * 12, String(server.received));
  });

  test("ends with its own time, whatever is answered", async () => {
    const server = await small({ delayS: 0.02 });
    await assert.rejects(open(server.address).encode(WORDS, { batchSize: 2, timeoutS: 1 }), {
      name: "DeadlineExceeded",
      message: /timeoutS of 1 s; set a longer one, or none \([1-9]\d* of 4,000 sentences were embedded\)$/,
    });
  });

  test("has no end with times that are long enough", async () => {
    const { address } = await small();
    assert.deepEqual(await open(address, { timeoutS: 1e300, stallTimeoutS: 1e300 }).encode(MANY), vectors(MANY));
  });

  test("is bounded and can be aborted while the manifest is read, and others go on", async () => {
    const server = await small({ silent: true });
    const stalled = /answered no request for 0\.3 s/;
    await assert.rejects(open(server.address, { stallTimeoutS: 0.3 }).info(), {
      name: "DeadlineExceeded",
      message: stalled,
    });
    const encoder = open(server.address);
    const going = encoder.encode(THREE);
    for (const method of ["encode", "encodeQuery", "encodeDocument"]) {
      const message = /timeoutS of 0\.2 s/;
      await assert.rejects(encoder[method](THREE, { timeoutS: 0.2 }), { name: "DeadlineExceeded", message });
      const signal = AbortSignal.timeout(100);
      await assert.rejects(encoder[method](THREE, { signal }), { name: "TimeoutError" });
    }
    server.silent = false;
    assert.deepEqual(await going, vectors(THREE));
  });

  test("sees a signal that is aborted before the call looks at it", async () => {
    const server = await small();
    const encoder = open(server.address);
    // As soon as the manifest is there.
    const controller = new AbortController();
    const reading = encoder.info().then(() => controller.abort());
    await assert.rejects(encoder.encode(THREE, { signal: controller.signal }), { name: "AbortError" });
    await reading;
  });

  test("without time, or aborted already, sends nothing", async () => {
    let assets = 0;
    const server = await small({ changeAsset: () => void (assets += 1) });
    const encoder = open(server.address);
    await encoder.info();
    const message = /timeoutS of 0\.001 s; set a longer one, or none/;
    const late = { name: "DeadlineExceeded", message };
    const signal = AbortSignal.abort();
    for (let time = 0; time < 20; time++) {
      await assert.rejects(encoder.health(0.001), late);
      await assert.rejects(open(server.address, { timeoutS: 0.001 }).info(), late);
      for (const sentences of [THREE, MANY]) {
        await assert.rejects(encoder.encode(sentences, { timeoutS: 0.001 }), late);
        await assert.rejects(open(server.address).encode(sentences, { timeoutS: 0.001 }), late);
        await assert.rejects(open(server.address).encodeQuery(sentences, { timeoutS: 0.001 }), late);
        await assert.rejects(encoder.encode(sentences, { signal }), { name: "AbortError" });
        await assert.rejects(open(server.address).encodeQuery(sentences, { signal }), { name: "AbortError" });
      }
    }
    const connection = new Connection(server.address, resolveSettings(server.address, {}));
    after(() => connection.close());
    await assert.rejects(connection.infer(assetRequest("manifest.json"), 5, signal), { name: "AbortError" });
    assert.deepEqual([assets, server.received], [1, 0]);
  });

  test("asks a server once for its manifest that says at once that it did not answer in time", async () => {
    const late = { code: status.DEADLINE_EXCEEDED, details: "a proxy gave up" };
    let asked = 0;
    const changeAsset = () => {
      asked += 1;
      throw late;
    };
    const [one, other] = [await small({ changeAsset }), await small({ changeAsset })];
    const message = /did not answer in time: .*a proxy gave up/;
    await assert.rejects(open(one.address).info(), { name: "DeadlineExceeded", message });
    assert.equal(asked, 1);
    await assert.rejects(open(`${one.address},${other.address}`).info(), { name: "DeadlineExceeded", message });
    assert.equal(asked, 3);
  });

  test("in an event loop that was busy does not blame the server", async () => {
    const server = await small({ delayS: 0.05 });
    const encoder = open(server.address, { stallTimeoutS: 2.5 });
    const call = encoder.encode(MANY, { batchSize: 4 });
    await sleep(200);
    const until = performance.now() + 3000;
    while (performance.now() < until); // a caller that computes
    assert.deepEqual(await call, vectors(MANY));
  });

  test("on an encoder that is closed while the manifest is read says so", async () => {
    const { address } = await small({ silent: true });
    const encoder = open(address);
    const call = encoder.encode(THREE);
    setTimeout(() => encoder.close(), 100);
    const closed = { name: "SentritonError", message: /this encoder is closed/ };
    const took = await timed(() => assert.rejects(call, closed));
    assert.ok(took < 10, String(took));
  });

  for (const answers of [true, false]) {
    test(`on a closed encoder leaves its requests ${GRACE_MS} ms, ${answers ? "to end" : "then cancels them"}`, async () => {
      const server = await small();
      const connected = open(server.address);
      const connecting = open(server.address);
      await connected.info();
      server.silent = true;
      const calls = [
        connected.encode(THREE),
        connected.encode(MANY.slice(0, 128)),
        connected.health(),
        connecting.info(),
        connecting.encode(THREE),
      ];
      const closed = Promise.all(calls.map((call) => assert.rejects(call, { message: /^this encoder is closed/ })));
      while (server.received < 3 || server.asked < 3) await sleep(1);
      const closing = performance.now();
      connected.close();
      connecting.close();
      await closed;
      assert.equal(server.ended, 1);
      await sleep(30);
      server.silent = !answers;
      while (server.ended < 6) await sleep(1);
      const tookMs = performance.now() - closing;
      assert.equal(server.cancelled, answers ? 0 : 5);
      assert.ok(answers || tookMs > 0.9 * GRACE_MS, String(tookMs));
    });
  }
});
