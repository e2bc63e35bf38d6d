// The client's parts that need no server.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { status } from "@grpc/grpc-js";

import * as errors from "../dist/esm/errors.js";
import { readManifest } from "../dist/esm/manifest.js";
import { Deadline, now } from "../dist/esm/deadline.js";
import { Dispatcher } from "../dist/esm/dispatch.js";
import { SentenceEncoder } from "../dist/esm/encoder.js";
import { Endpoint, Endpoints } from "../dist/esm/endpoints.js";
import { backoffS, RetryBudget, Window } from "../dist/esm/pacing.js";
import { readAsset, readSentenceEmbedding, textRequest } from "../dist/esm/protocol.js";
import { planRequests } from "../dist/esm/requests.js";
import { asTexts } from "../dist/esm/arguments.js";
import { resolveSettings } from "../dist/esm/settings.js";
import { scoreMatrix } from "../dist/esm/similarity.js";
import { MANIFEST } from "./small_server.mjs";

const FILE = new URL("../../../tests/polyglot/conformance.json", import.meta.url);
const conformance = JSON.parse(readFileSync(FILE, "utf8"));

describe("errors", () => {
  const { statuses } = conformance;
  const ofNode = [
    ["UNAVAILABLE", "No connection established. Last error: Error: self-signed certificate.", "AccessDenied"],
    ["UNAVAILABLE", "Hostname/IP does not match certificate's altnames: Host: localhost. is not", "AccessDenied"],
    ["CANCELLED", "Cancelled on client", "ServerError"],
  ];
  for (const [code, message, name] of [...statuses, ...ofNode]) {
    test(`${code} "${message}" is ${name}`, () => {
      const received = Object.assign(new Error(message), { code: status[code], details: message });
      const error = errors.translate(received, "host:1");
      assert.equal(error.name, name);
      assert.ok(error instanceof errors.SentritonError);
      assert.equal(error.cause.details, message);
      assert.notEqual(error.message, "");
    });
  }
});

describe("pacing", () => {
  test("pauses grow to three seconds, with jitter", () => {
    const longest = Array.from({ length: 8 }, (_, attempt) => backoffS(attempt + 1, () => 1));
    assert.deepEqual(longest, [0.1, 0.2, 0.4, 0.8, 1.6, 3, 3, 3]);
    assert.ok(Math.abs(backoffS(1, () => 0) - 0.02) < 1e-12);
  });

  test("a hundred retries, and a fifth of one more for each answer", () => {
    const budget = new RetryBudget();
    const taken = Array.from({ length: 101 }, () => budget.take());
    assert.equal(taken.filter(Boolean).length, 100);
    for (let answer = 0; answer < 4; answer++) budget.answered();
    assert.equal(budget.take(), false);
    budget.answered();
    budget.answered();
    assert.equal(budget.take(), true);
  });

  test("the window opens while the rate rises, and halves on overload", () => {
    const window = new Window(16);
    assert.equal(window.limit, 4);
    let now = 0;
    // Twice as many in flight, twice the rate: a server that is not full.
    for (let answer = 0; answer < 500; answer++) window.answered(100, (now += 1 / window.limit));
    assert.equal(window.limit, 16);
    assert.equal(window.anew().limit, 16);
    window.overloaded();
    assert.equal(window.limit, 8);
    for (let time = 0; time < 5; time++) window.overloaded();
    assert.equal(window.limit, 1);
  });
});

describe("a deadline", () => {
  test("is over two milliseconds earlier", () => {
    const deadline = new Deadline(1, 60, 0);
    assert.ok(Math.abs(deadline.leftS(0.997) - 0.003) < 1e-9 && !deadline.over(0.997));
    assert.ok(deadline.leftS(0.999) === 0 && deadline.over(0.999));
  });
});

describe("requests", () => {
  test("longest first, each sentence once, within rows and tokens", () => {
    const texts = Array.from({ length: 300 }, (_, number) => "가".repeat((number * 7919) % 200));
    const plan = [...planRequests(texts, { maxRows: 64, maxSeqLength: 128, prompt: "" })];
    const order = plan.flatMap(({ indices }) => indices);
    assert.deepEqual([...order].sort((a, b) => a - b), [...texts.keys()]);
    assert.ok(order.every((place, at) => at === 0 || texts[place].length <= texts[order[at - 1]].length));
    for (const { texts: rows } of plan) {
      const tokens = rows.reduce((sum, text) => sum + Math.min(text.length + 2, 128), 0);
      assert.ok(rows.length <= 64 && tokens <= 4096, String(tokens));
    }
  });

  test("as many rows as fit, each of its own length", () => {
    const texts = [...[4000, 90, 8, 8], ...Array.from({ length: 64 }, () => 1)].map((length) => "a".repeat(length));
    const sizes = (maxSeqLength) =>
      [...planRequests(texts, { maxRows: 64, maxSeqLength, prompt: "" })].map(({ indices }) => indices.length);
    assert.deepEqual(sizes(8192), [2, 64, 2]);
    assert.deepEqual(sizes(64), [64, 4]);
    const alone = [...planRequests(["a".repeat(9000), "a"], { maxRows: 64, maxSeqLength: 8192, prompt: "" })];
    assert.deepEqual(alone.map(({ indices }) => indices), [[0], [1]]);
  });

  test("no more than a MiB of UTF-8, prompt and all, where more than one sentence is in it", () => {
    const texts = ["가".repeat(400_000), ...Array.from({ length: 20 }, () => "가".repeat(100_000)), "가"];
    const plan = [...planRequests(texts, { maxRows: 64, maxSeqLength: 128, prompt: "나".repeat(10_000) })];
    assert.deepEqual(plan.map(({ texts: rows }) => rows.length), [1, 3, 3, 3, 3, 3, 3, 3]);
    assert.deepEqual(plan.flatMap(({ indices }) => indices), [...texts.keys()]);
  });
});

describe("a failure in the same tick as an answer", () => {
  // No server can be made to settle several requests in one tick, so the connection is made here.
  async function run(...errors) {
    const waiting = [];
    const connection = {
      address: "host:1",
      infer: () => new Promise((answer, fail) => void waiting.push({ answer, fail })),
    };
    const encoded = [];
    const dispatcher = new Dispatcher({
      endpoints: new Endpoints([new Endpoint(connection)]),
      window: new Window(2),
      budget: new RetryBudget(),
      deadline: new Deadline(undefined, 60, now()),
      total: 4,
      signal: undefined,
      request: () => ({}),
      collect: ({ indices }) => void encoded.push(...indices),
    });
    const running = dispatcher.run([0, 1, 2, 3].map((index) => ({ indices: [index], texts: ["a"] })));
    running.catch(() => undefined);
    while (waiting.length > 0) {
      for (const { answer, fail } of waiting.splice(0)) {
        const error = errors.shift();
        if (error) fail(error);
        else answer({});
      }
      await sleep(1);
    }
    await running;
    return encoded;
  }

  test("ends the call, whichever comes first", async () => {
    for (const kind of [errors.InvalidInput, errors.ContractMismatch]) {
      const message = /^wrong \([0-3] of 4 sentences were embedded\)$/;
      for (const [...outcomes] of [[0, 1], [1, 0], [0, 0, 0, 1], [0, 0, 1, 0]]) {
        const failures = outcomes.map((fails) => (fails ? new kind("wrong") : undefined));
        await assert.rejects(run(...failures), { name: kind.name, message });
      }
    }
    assert.deepEqual((await run()).sort(), [0, 1, 2, 3]);
  });
});

describe("protocol", () => {
  test("text travels as length and UTF-8", () => {
    const request = textRequest(["가", "", "ab"], { fingerprint: "f", priority: "bulk", timeoutS: 1.5 });
    assert.equal(request.rawInputContents[0].toString("hex"), "03000000eab080" + "00000000" + "020000006162");
    assert.deepEqual(request.inputs[0].shape, [3, 1]);
    assert.deepEqual(request.parameters.lane.parameterChoice, { $case: "stringParam", value: "bulk" });
    assert.deepEqual(request.parameters.timeout.parameterChoice, { $case: "int64Param", value: 1_500_000 });
  });

  for (const { case: name, model_name: modelName, content, ...output } of conformance.answers) {
    test(`an answer: ${name}`, () => {
      const answer = { modelName, outputs: [output], rawOutputContents: [Buffer.from(content, "base64")] };
      const read = () => readSentenceEmbedding(answer, 3, 2).map((row) => [...row]);
      const refused = { name: "ServerError", message: /^the server sent .*; expected / };
      if (name === "right") assert.deepEqual(read(), [[1, 2], [3, 4], [5, 6]]);
      else assert.throws(read, refused);
    });
  }

  for (const [name, value] of conformance.wrong_fields) {
    test(`a manifest's ${name} is not ${JSON.stringify(value)}`, () => {
      assert.equal(readManifest(JSON.stringify(MANIFEST)).maxBatchSize, 64);
      const message = new RegExp(`^the manifest's ${name} is .*; expected `);
      assert.throws(() => readManifest(JSON.stringify({ ...MANIFEST, [name]: value })), { message });
    });
  }

  test("an embedding of another size, or none, is the server's error", () => {
    const outputs = [{ name: "sentence_embedding", datatype: "FP32", shape: [2, 3] }];
    const answer = (length) => ({ modelName: "embed_text", outputs, rawOutputContents: [Buffer.alloc(length)] });
    assert.equal(readSentenceEmbedding(answer(24), 2, 3).length, 2);
    assert.throws(() => readSentenceEmbedding(answer(20), 2, 3), errors.ServerError);
    const nothing = { modelName: "embed_text", outputs: [], rawOutputContents: [] };
    assert.throws(() => readSentenceEmbedding(nothing, 2, 3), errors.ServerError);
    assert.throws(() => readAsset({ ...nothing, modelName: "assets" }), errors.ServerError);
  });
});

const NUMBERS_AND_CHOICES = ["TIMEOUT_S", "STALL_TIMEOUT_S", "MAX_IN_FLIGHT", "TLS", "PRIORITY", "ON_MODEL_CHANGE"].map(
  (name) => `SENTRITON_${name}`,
);

const WRONG_TIMES = [0, -1, NaN, Infinity, "5", 10n, true, {}];

describe("settings", () => {
  const withEnvironment = (variables, body) => {
    const before = { ...process.env };
    Object.assign(process.env, variables);
    try {
      return body();
    } finally {
      process.env = before;
    }
  };

  test("an option beats its variable, which beats the default", () => {
    const variables = { SENTRITON_URL: "a:1, b:2", SENTRITON_TIMEOUT_S: "2.5", SENTRITON_TLS: "on" };
    const settings = withEnvironment(variables, () => resolveSettings(undefined, { timeoutS: 7 }));
    assert.deepEqual(settings.addresses, ["a:1", "b:2"]);
    const { timeoutS, tls, maxInFlight, priority } = settings;
    assert.deepEqual([timeoutS, tls, maxInFlight, priority], [7, true, 16, "query"]);
    const unset = resolveSettings("a:1", {});
    assert.deepEqual([unset.timeoutS, unset.stallTimeoutS], [undefined, 60]);
  });

  test("~ is the home folder", () => {
    const variables = { SENTRITON_ROOT_CERTIFICATES: "~/ca.pem" };
    const options = { clientCertificate: "~me/own.pem", clientKey: "~/own.key" };
    const settings = withEnvironment(variables, () => resolveSettings("a:1", options));
    const { rootCertificates, clientCertificate, clientKey } = settings;
    assert.deepEqual(
      [rootCertificates, clientCertificate, clientKey],
      [`${homedir()}/ca.pem`, "~me/own.pem", `${homedir()}/own.key`],
    );
  });

  for (const [name, value] of ["timeoutS", "stallTimeoutS"].flatMap((name) => WRONG_TIMES.map((time) => [name, time]))) {
    test(`${name} ${String(value)} is refused`, () => {
      assert.throws(() => resolveSettings("a:1", { [name]: value }), {
        name: "InvalidInput",
        message: new RegExp(`^${name} is .*; allowed are finite numbers above 0$`),
      });
    });
  }

  test("a misspelt option is named with those that exist", async () => {
    const message = /has no option 'timeout'; its options are (promptName|timeoutS), /;
    assert.throws(() => resolveSettings("a:1", { timeout: 3 }), { name: "InvalidInput", message });
    const encoder = new SentenceEncoder("localhost:1");
    await assert.rejects(encoder.encode("a", { timeout: 3 }), { name: "InvalidInput", message });
    await assert.rejects(encoder.encodeQuery("a", { timeout: 3 }), { name: "InvalidInput", message });
    encoder.close();
  });

  for (const variable of NUMBERS_AND_CHOICES) {
    test(`$${variable} that cannot be is named`, () => {
      withEnvironment({ [variable]: "soon" }, () => {
        assert.throws(() => resolveSettings("a:1", {}), { name: "InvalidInput", message: /soon/ });
      });
    });
  }

  test("an access key that no header can carry is refused and not shown", () => {
    const message =
      "accessKey cannot be sent; allowed are printable ASCII characters, without spaces or line ends around them";
    for (const accessKey of ["secret\n", " secret", "secret ", "비밀"]) {
      assert.throws(() => resolveSettings("a:1", { accessKey }), { name: "InvalidInput", message });
    }
  });

  for (const url of ["", "localhost", "http://a:1", "a:0", "a:65536", "a b:1", "::1:80", "a:1,,b:2"]) {
    test(`"${url}" is no address`, () => {
      assert.throws(() => resolveSettings(url, {}), errors.InvalidInput);
    });
  }

  test("addresses", () => {
    const { addresses } = resolveSettings("a:1,[::1]:2,dns:///c.d:3,dns://10.0.0.2:53/e.f:4", {});
    assert.deepEqual(addresses, ["a:1", "[::1]:2", "dns:///c.d:3", "dns://10.0.0.2:53/e.f:4"]);
  });

  test("a certificate needs its key, and asks for TLS", () => {
    assert.throws(() => resolveSettings("a:1", { clientCertificate: "a.pem" }), errors.InvalidInput);
    assert.equal(resolveSettings("a:1", { rootCertificates: "ca.pem" }).tls, true);
  });
});

describe("sentences", () => {
  const wrong = [
    [undefined, /^sentences is undefined; give a string or an array of strings$/],
    [{ a: "b" }, /^sentences is { a: 'b' }; give/],
    [new Map([["a", "b"]]), /^sentences is Map\(1\) { 'a' => 'b' }; give/],
    [new Set(["a"]), /^sentences is Set\(1\) { 'a' }; give/],
    [Buffer.from("a"), /^sentences is <Buffer 61>; give/],
    [7n, /^sentences is 7n; give/],
    [["a", , "b"], /^sentences\[1\] is undefined \(undefined\); every sentence must be a string$/],
    [["a", null], /^sentences\[1\] is null \(object\)/],
    [[new String("a")], /^sentences\[0\] is \[String: 'a'\] \(object\)/],
    [[["a"]], /^sentences\[0\] is \[ 'a' \] \(object\)/],
  ];
  for (const [given, message] of wrong) {
    test(String(message), () => {
      assert.throws(() => asTexts(given), { name: "InvalidInput", message });
    });
  }
});

describe("similarity", () => {
  const first = [[1, 0], [3, 4]];
  const second = [[0, 2]];
  const scores = { cosine: [0, 0.8], dot: [0, 8], euclidean: [-Math.sqrt(5), -Math.sqrt(13)], manhattan: [-3, -5] };
  for (const [name, expected] of Object.entries(scores)) {
    test(name, () => {
      const found = scoreMatrix(name, first, second);
      found.forEach((row, place) => assert.ok(Math.abs(row[0] - expected[place]) < 1e-6));
    });
  }

  test("dimensions that differ are named", () => {
    assert.throws(() => scoreMatrix("dot", first, [[1]]), { name: "InvalidInput", message: /2 and 1/ });
  });
});
