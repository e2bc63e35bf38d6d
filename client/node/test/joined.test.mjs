// Small calls of one encoder that wait share a request, and each behaves as if it had its own.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { status } from "@grpc/grpc-js";
import { SentenceEncoder } from "sentriton";

import { MANIFEST, openSmallServer, vectors, WORDS } from "./small_server.mjs";

const PLACES = 4; // requests in flight before calls wait
const TEN = WORDS.slice(10, 20);
const SOON_MS = 30_000; // a busy machine is far below it
const WRONG_ROW = { code: status.INVALID_ARGUMENT, details: "a wrong row" };

/** Calls of an encoder. `hold` keeps all places taken until `release`, so that calls made meanwhile wait. */
async function callers(options = {}) {
  const server = await openSmallServer();
  const encoder = new SentenceEncoder(server.address, options);
  after(() => {
    encoder.close();
    server.close();
  });
  await encoder.info();
  const held = [];
  const hold = async () => {
    server.silent = true;
    for (let place = 0; place < PLACES; place++) {
      held.push(encoder.encode(WORDS[place]));
      held[place].catch(() => undefined);
      await until(() => server.received === place + 1);
    }
  };
  const call = async (...sentences) => {
    const made = sentences.map((each) => encoder.encode(each));
    for (const each of made) each.catch(() => undefined);
    await until(() => encoder.joiner.waiting.length === made.length);
    return made;
  };
  const release = async () => {
    server.silent = false;
    assert.deepEqual(await Promise.all(held), vectors(WORDS.slice(0, PLACES)));
  };
  return { server, encoder, hold, call, release };
}

async function until(holds) {
  const end = performance.now() + SOON_MS;
  while (!holds()) {
    assert.ok(performance.now() < end);
    await sleep(2);
  }
}

async function errorOf(call) {
  const [{ reason }] = await Promise.allSettled([call]);
  assert.ok(reason instanceof Error);
  return reason;
}

/** Refuses every request with this word. */
const refuseWord = (refusal, word = "w13") => (_, words) => (words.includes(word) ? refusal : undefined);

describe("calls that wait", () => {
  test("leave together, and an idle encoder sends at once", async () => {
    const { server, hold, call, release } = await callers();
    await hold();
    assert.equal(server.underWay, PLACES);
    const calls = await call(...TEN);
    await release();
    assert.deepEqual(await Promise.all(calls), vectors(TEN));
    assert.deepEqual(server.words.slice(PLACES), [TEN]);
  });

  test("that are made together leave together", async () => {
    const { server, encoder } = await callers();
    assert.deepEqual(await Promise.all(TEN.map((word) => encoder.encode(word))), vectors(TEN));
    assert.equal(server.received, 1);
  });

  test("keep their order, options and prompts", async () => {
    const { server, encoder, hold, release } = await callers();
    await hold();
    const calls = [
      encoder.encode(["w12", "w10", "w11"]),
      encoder.encode("w13", { truncateDim: 1, normalizeEmbeddings: true }),
      encoder.encode(["w14"], { prompt: "a prompt: " }),
    ];
    await until(() => encoder.joiner.waiting.length === calls.length);
    await release();
    const [several, short, prompted] = await Promise.all(calls);
    assert.deepEqual(several, vectors(["w12", "w10", "w11"]));
    assert.deepEqual([...short], [1]);
    assert.deepEqual(prompted, vectors(["w14"]));
    assert.notEqual(several[0].buffer, prompted[0].buffer);
    assert.equal(server.received, PLACES + 1);
  });

  test("do not share a request where they may not", async () => {
    const { server, encoder, hold, release } = await callers();
    await hold();
    const waiting = [
      encoder.encode("w10"),
      encoder.encode("w11", { batchSize: 8 }), // one limit a request
      encoder.encode("w12", { timeoutS: 3 }), // times that are far apart
      encoder.encode("w13", { timeoutS: 4 }),
    ];
    const own = [encoder.encode(WORDS.slice(20, 30)), encoder.encode("w14", { batchSize: 1 })];
    await until(() => encoder.joiner.waiting.length === waiting.length && server.received === PLACES + own.length);
    await release();
    await Promise.all([...waiting, ...own]);
    const joined = server.words.slice(PLACES + own.length).map((words) => words.join());
    assert.deepEqual(joined.sort(), ["w10", "w11", "w12,w13"]);
  });

  test("stay within the limits of a request", async () => {
    const { server, encoder, hold, release } = await callers();
    await hold();
    const rows = WORDS.slice(100, 200).map((word) => encoder.encode(word));
    await until(() => encoder.joiner.waiting.length === 100);
    await release();
    await Promise.all(rows);
    assert.deepEqual(server.words.slice(PLACES).map((words) => words.length), [64, 36]);
  });

  test("have no more than 16 KiB of UTF-8 together", async () => {
    const { server, encoder, hold, release } = await callers();
    await hold();
    const half = `w1${"가".repeat(2730)}`; // 8,192 bytes
    const whole = `w100${"가".repeat(5460)}`; // 16,384 bytes
    const calls = [half, half, "w2", whole].map((each) => encoder.encode(each));
    calls.push(encoder.encode(whole, { prompt: " " })); // too long to join, so it does not wait
    await until(() => encoder.joiner.waiting.length === 4 && server.received === PLACES + 1);
    await release();
    await Promise.all(calls);
    const joined = server.words.slice(PLACES).map((words) => words.join());
    assert.deepEqual(joined.sort(), ["w1,w1", "w100", "w100", "w2"]); // requests in flight at once arrive in any order
  });
});

describe("each call of a request", () => {
  const refusals = { InvalidInput: WRONG_ROW, ServerError: { code: status.INTERNAL, details: "not finite" } };
  for (const [name, refusal] of Object.entries(refusals)) {
    test(`is not failed by a neighbour's ${name}`, async () => {
      const { server, hold, call, release } = await callers();
      server.refuse = refuseWord(refusal);
      await hold();
      const calls = await call(...TEN);
      await release();
      const error = await errorOf(calls.splice(3, 1)[0]);
      assert.deepEqual([error.name, error.message], [name, refusal.details]);
      assert.deepEqual(await Promise.all(calls), vectors(TEN.filter((word) => word !== "w13")));
      assert.equal(server.received, PLACES + 1 + TEN.length);
    });
  }

  test("gets the server's error in an object of its own", async () => {
    const { server, hold, call, release } = await callers();
    server.refuse = refuseWord({ code: status.PERMISSION_DENIED, details: "no entry" });
    await hold();
    const calls = await call(...TEN, ["w20", "w21"]);
    await release();
    const errors = await Promise.all(calls.map(errorOf));
    assert.deepEqual([...new Set(errors.map(({ name }) => name))], ["AccessDenied"]);
    assert.equal(new Set(errors).size, errors.length);
    assert.equal(errors.at(-1).message, `${errors[0].message} (0 of 2 sentences were embedded)`);
    assert.equal(server.received, PLACES + 1);
  });

  test("checks its own numbers", async () => {
    const { server, hold, call, release } = await callers();
    server.change = (answer) => {
      if (answer.outputs[0].shape[0] > 1) answer.rawOutputContents[0].writeFloatLE(NaN, 16);
    };
    await hold();
    const [first, second, third] = await call("w10", "w11", "w12");
    await release();
    assert.deepEqual(await Promise.all([first, third]), vectors(["w10", "w12"]));
    await assert.rejects(second, { name: "ServerError", message: /^wrong answer from .* NaN or infinity in row 0/ });
  });

  test("fails where the answer has another shape", async () => {
    const { server, hold, call } = await callers();
    await hold();
    const calls = await call("w10", "w11");
    server.change = (answer) => void (answer.outputs[0].shape = [7, 4]);
    server.silent = false;
    for (const each of calls) {
      await assert.rejects(each, { name: "ServerError", message: /^wrong answer from .* \[7, 4\]; expected \[2, 4\]/ });
    }
    assert.equal(server.received, PLACES + 1);
  });

  test("ends at its own deadline, waiting or under way", async () => {
    const { server, encoder, hold, release } = await callers();
    await hold();
    const [short, long] = [encoder.encode("w10", { timeoutS: 0.3 }), encoder.encode("w11")];
    await assert.rejects(short, { name: "DeadlineExceeded", message: /its timeoutS of 0.3 s/ });
    await release();
    await long;
    assert.deepEqual(server.words.at(-1), ["w11"]);
    server.delayS = 1.2;
    const both = [encoder.encode("w12", { timeoutS: 1 }), encoder.encode("w13", { timeoutS: 1.9 })];
    await assert.rejects(both[0], { name: "DeadlineExceeded", message: /its timeoutS of 1 s/ });
    assert.deepEqual(await both[1], vectors(["w13"])[0]);
    assert.deepEqual(server.words.at(-1), ["w12", "w13"]);
    assert.ok(server.timeoutsUs.at(-1) > 1_500_000);
  });

  test("is aborted alone, and the last one takes the request with it", async () => {
    const { server, encoder, hold, release } = await callers();
    await hold();
    const aborts = TEN.map(() => new AbortController());
    const calls = TEN.map((word, place) => encoder.encode(word, { signal: aborts[place].signal }));
    for (const each of calls) each.catch(() => undefined);
    await until(() => encoder.joiner.waiting.length === TEN.length);
    const reason = new Error("the user left");
    aborts[0].abort(reason);
    await assert.rejects(calls[0], reason);
    await release();
    assert.deepEqual(await Promise.all(calls.slice(1)), vectors(TEN.slice(1)));
    assert.deepEqual(server.words.at(-1), TEN.slice(1));
    server.silent = true;
    const [first, second] = [new AbortController(), new AbortController()];
    const pair = [first, second].map(({ signal }) => encoder.encode("w30", { signal }));
    for (const each of pair) each.catch(() => undefined);
    await until(() => server.received === PLACES + 2);
    first.abort(reason);
    await assert.rejects(pair[0], reason);
    assert.equal(server.underWay, 1);
    second.abort(reason);
    await until(() => server.underWay === 0);
    assert.equal(encoder.joiner.inFlight, 0);
  });

  test("begins again with another model", async () => {
    const { server, hold, call, release } = await callers({ onModelChange: "reload" });
    await hold();
    const calls = await call(...TEN);
    server.assets["manifest.json"] = { ...MANIFEST, fingerprint: "e".repeat(64) };
    const mismatch = { code: status.INVALID_ARGUMENT, details: "fingerprint mismatch: another model" };
    server.refuse = (number) => (number === PLACES ? mismatch : undefined);
    await release();
    assert.deepEqual(await Promise.all(calls), vectors(TEN));
    assert.equal(server.received, PLACES + 2);
  });

  test("is retried with the others, as one request", async () => {
    const { server, encoder, hold, call, release } = await callers();
    const full = { code: status.UNAVAILABLE, details: "the query lane is full" };
    server.refuse = (number) => (number === PLACES ? full : undefined);
    await hold();
    const calls = await call(...TEN);
    encoder.budget.tokens = 50;
    await release();
    assert.deepEqual(await Promise.all(calls), vectors(TEN));
    assert.deepEqual(server.words.slice(PLACES), [TEN, TEN]);
    assert.ok(Math.abs(encoder.budget.tokens - (50 - 1 + (PLACES + 1) / 5)) < 1e-9);
  });

  test("that is aborted in the pause of a retry leaves its place to others", async () => {
    const { server, encoder } = await callers({ maxInFlight: 1 });
    const away = { code: status.UNAVAILABLE, details: "stopping" };
    server.refuse = refuseWord(away, "w10");
    const abort = new AbortController();
    const aborted = encoder.encode("w10", { signal: abort.signal });
    aborted.catch(() => undefined);
    await until(() => server.received > 0 && encoder.joiner.inFlight === 0);
    server.silent = true;
    const first = encoder.encode("w11");
    await until(() => encoder.joiner.inFlight === 1);
    const second = encoder.encode("w12");
    await until(() => encoder.joiner.pausing.size === 1);
    abort.abort(new Error("the user left"));
    await assert.rejects(aborted, { message: "the user left" });
    server.silent = false;
    assert.deepEqual(await Promise.all([first, second]), vectors(["w11", "w12"]));
    await until(() => encoder.joiner.inFlight === 0 && encoder.joiner.pausing.size === 0);
  });

  test("ends when the encoder is closed", async () => {
    const { encoder, hold, call } = await callers();
    await hold();
    const calls = await call(...TEN);
    encoder.close();
    for (const each of calls) await assert.rejects(each, { message: "this encoder is closed; make a new one" });
  });
});

test("no call is forgotten under a random load", async () => {
  const { server, encoder } = await callers();
  server.refuse = (_, words) => {
    if (Math.random() < 0.03) return { code: status.UNAVAILABLE, details: "the query lane is full" };
    return words.includes("w13") ? WRONG_ROW : undefined;
  };
  const draw = (values) => values[Math.floor(Math.random() * values.length)];
  const end = performance.now() + 3000;
  const answers = new Array(64).fill(0);
  const caller = async (_, place) => {
    while (performance.now() < end) {
      const words = Array.from({ length: draw([1, 1, 1, 2, 8, 20]) }, () => draw(WORDS));
      const timeoutS = draw([undefined, undefined, 5, 0.02]);
      server.delayS = draw([0, 0.001, 0.01, 0.03]);
      const signal = Math.random() < 0.1 ? AbortSignal.timeout(10) : undefined;
      try {
        assert.deepEqual(await encoder.encode(words, { timeoutS, signal }), vectors(words));
        answers[place] += 1;
      } catch (error) {
        if (error.name === "InvalidInput" ? !words.includes("w13") : !timeoutS && !signal) throw error;
      }
    }
  };
  await Promise.all(answers.map(caller));
  assert.ok(Math.min(...answers) > 0, answers.join());
  const { joiner } = encoder;
  await until(() => joiner.inFlight === 0 && joiner.joints.size === 0);
  assert.equal(joiner.waiting.length, 0);
});
