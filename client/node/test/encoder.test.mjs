// Cases of this client alone, beside the conformance cases, against the server at $SENTRITON_URL.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { ServerCredentials, status } from "@grpc/grpc-js";
import { ContractMismatch, InvalidInput, SentenceEncoder, SentritonError, ServerUnavailable } from "sentriton";

import { openGateway } from "./gateway.mjs";

const url = process.env.SENTRITON_URL;
const SENTENCES = Array.from({ length: 50 }, (_, number) => `${number}번째 문장입니다`);
const MANY = Array.from({ length: 20_000 }, (_, number) => `${number}번째 문장입니다`);
const FULL = { code: status.UNAVAILABLE, details: "Exceeds maximum queue size" };
const AWAY = { code: status.UNAVAILABLE, details: "Server is stopping" };
const SICK = { code: status.INTERNAL, details: "Stub process 'encoder_0_0' is not healthy." };

function open(target = url, options = {}) {
  const encoder = new SentenceEncoder(target, options);
  after(() => encoder.close());
  return encoder;
}

async function gateway(options) {
  const opened = await openGateway(url, options);
  after(opened.close);
  return opened;
}

async function assertEmbedded(found, sentences) {
  const expected = await open().encode(sentences);
  assert.equal(found.length, expected.length);
  found.forEach((row, place) => {
    assert.equal(row.length, 256);
    row.forEach((value, at) => assert.ok(Math.abs(value - expected[place][at]) < 1e-5));
  });
}

test("calls to this machine ask no proxy", async () => {
  process.env.http_proxy = "http://127.0.0.1:9";
  after(() => delete process.env.http_proxy);
  for (const prefix of ["", "dns:///"]) {
    await assertEmbedded(await open(`${prefix}${url}`, { timeoutS: 10 }).encode(["문장"]), ["문장"]);
  }
});

describe("the model", () => {
  test("info is the manifest in this language's names", async () => {
    const info = await open().info();
    assert.match(info.fingerprint, /^[0-9a-f]{64}$/);
    assert.deepEqual(
      [info.dimension, info.maxBatchSize, info.similarity, info.defaultPromptName, info.includePrompt],
      [256, 64, "cosine", null, true],
    );
  });

  test("health compares golden vectors, and says when nobody is there", async () => {
    const { manifest, minCosine } = await open().health();
    assert.ok(minCosine > 0.99999, String(minCosine));
    assert.equal(manifest.dimension, 256);
    await assert.rejects(open("127.0.0.1:1").health(2), {
      name: "ServerUnavailable",
      message: /^no answer from 127.0.0.1:1: .*ECONNREFUSED 127.0.0.1:1; is it running\? `sentriton serve` on that machine starts it$/,
    });
  });

  test("queries and documents have their prompts", async () => {
    const encoder = open();
    await assertEmbedded(await encoder.encodeQuery(["문장"]), ["문장"]);
    await assertEmbedded(await encoder.encodeDocument(["문장"]), ["문장"]);
  });

  test("another model is a contract mismatch", async () => {
    const encoder = open();
    const info = await encoder.info();
    encoder.reading = Promise.resolve({ ...info, fingerprint: "0".repeat(64) });
    const mismatch = (error) => error instanceof ContractMismatch && error instanceof InvalidInput;
    await assert.rejects(encoder.encode("문장"), mismatch);
    const reloading = open(url, { onModelChange: "reload" });
    reloading.reading = Promise.resolve({ ...info, fingerprint: "0".repeat(64) });
    await assertEmbedded(await reloading.encode(SENTENCES), SENTENCES);
  });

  test("a server that goes on with another model ends a reloading call after three tries", async () => {
    const changed = { code: status.INVALID_ARGUMENT, details: "fingerprint mismatch: the request is for model 'a'" };
    const { address, requests } = await gateway({ refuse: () => changed });
    await assert.rejects(open(address, { onModelChange: "reload" }).encode("문장"), ContractMismatch);
    assert.equal(requests.length, 1 + 3);
  });
});

describe("a call", () => {
  test("that is aborted ends with the signal's reason", async () => {
    const encoder = open();
    await encoder.info();
    const reason = new Error("the user left");
    await assert.rejects(encoder.encode(MANY, { signal: AbortSignal.timeout(100) }), { name: "TimeoutError" });
    await assert.rejects(encoder.encode("문장", { signal: AbortSignal.abort(reason) }), reason);
    assert.equal((await encoder.encode("문장")).length, 256);
  });

  test("that runs out of time says how far it got", async () => {
    await assert.rejects(open().encode(MANY, { timeoutS: 1 }), {
      // A server that sees that a request would come too late turns it away as overload.
      name: /^(DeadlineExceeded|Overloaded)$/,
      message: /\([\d,]+ of 20,000 sentences were embedded\)$/,
    });
  });

  test("on a closed encoder says so, also when it was under way", async () => {
    const encoder = new SentenceEncoder(url);
    await encoder.info();
    const underWay = encoder.encode(MANY);
    setTimeout(() => encoder.close(), 50);
    const closed = (error) => error.constructor === SentritonError && /this encoder is closed/.test(error.message);
    await assert.rejects(underWay, closed);
    await assert.rejects(encoder.encode("문장"), closed);
    await assert.rejects(encoder.info(), closed);
    await assert.rejects(encoder.health(), closed);
  });
});

describe("a server that refuses", () => {
  for (const [name, refusal] of Object.entries({ full: FULL, away: AWAY, sick: SICK })) {
    test(`because it is ${name} is asked again`, async () => {
      const { address, requests } = await gateway({ refuse: (number) => (number < 5 ? refusal : undefined) });
      await assertEmbedded(await open(address).encode(SENTENCES, { batchSize: 10 }), SENTENCES);
      assert.equal(requests.length, 5 + 5);
    });
  }

  test("because the request is wrong is not asked again", async () => {
    const wrong = { code: status.INVALID_ARGUMENT, details: "no" };
    const { address, requests } = await gateway({ refuse: () => wrong });
    await assert.rejects(open(address).encode("문장"), { name: "InvalidInput", message: "no" });
    assert.equal(requests.length, 1);
  });

  test("until the deadline is given up before a pause that is too long", async (t) => {
    // Attempts after 0, 0.1, 0.3, 0.7 and 1.5 s; the next pause of 1.6 s is too long, however slow the attempts are.
    t.mock.method(Math, "random", () => 1);
    const { address, requests } = await gateway({ refuse: () => AWAY });
    const started = performance.now();
    await assert.rejects(open(address).encode(SENTENCES, { timeoutS: 3.1 }), {
      name: "ServerUnavailable",
      message: /Server is stopping \(0 of 50 sentences were embedded\)$/,
    });
    assert.ok(performance.now() - started < 3100);
    assert.ok(requests.length > 2);
  });

  test("because it is full is spared by the budget: 200 callers repeat 100 times in all", async () => {
    const { address, requests } = await gateway({ refuse: () => FULL });
    const encoder = open(address);
    const ended = await Promise.allSettled(Array.from({ length: 200 }, () => encoder.encode("문장", { batchSize: 1 })));
    assert.ok(ended.every(({ reason }) => reason?.name === "Overloaded"));
    assert.equal(requests.length, 200 + 100);
  });

  test("for a second loses none of 300 calls when it was only away", async () => {
    const until = performance.now() + 1000;
    const { address } = await gateway({ refuse: () => (performance.now() < until ? AWAY : undefined) });
    const encoder = open(address);
    const found = await Promise.all(Array.from({ length: 300 }, () => encoder.encode("문장")));
    assert.equal(found.length, 300);
  });
});

describe("several servers", () => {
  test("share the work", async () => {
    const servers = [await gateway(), await gateway(), await gateway()];
    const encoder = open(servers.map(({ address }) => address).join());
    await assertEmbedded(await encoder.encode(SENTENCES, { batchSize: 1 }), SENTENCES);
    const counts = servers.map(({ requests }) => requests.length);
    assert.equal(counts.reduce((sum, count) => sum + count), SENTENCES.length);
    assert.ok(Math.min(...counts) >= 10, String(counts));
  });

  test("stand in for one that is away", async () => {
    const away = await gateway({ refuse: () => AWAY });
    const encoder = open(["127.0.0.1:1", away.address, url, (await gateway()).address].join());
    await assertEmbedded(await encoder.encode(SENTENCES, { batchSize: 1 }), SENTENCES);
    assert.ok(away.requests.length < 10, String(away.requests.length));
  });
});

describe("security", () => {
  const pem = (name) => join(process.env.TEST_CERTIFICATES, `${name}.pem`);
  const serverKeys = () => [{ private_key: readFileSync(pem("server.key")), cert_chain: readFileSync(pem("server")) }];

  test("TLS with a named root certificate; a stranger's is not trusted", async () => {
    const { address } = await gateway({ credentials: ServerCredentials.createSsl(null, serverKeys()) });
    await assertEmbedded(await open(address, { rootCertificates: pem("server") }).encode(SENTENCES), SENTENCES);
    const { port } = new URL(`http://${address}`);
    const named = { rootCertificates: pem("server"), serverName: "localhost" };
    await assertEmbedded(await open(`127.0.0.1:${port}`, named).encode(SENTENCES), SENTENCES);
    const denied = { name: "AccessDenied", message: /certificate/ };
    await assert.rejects(open(`127.0.0.1:${port}`, { rootCertificates: pem("server") }).encode("문장"), denied);
    await assert.rejects(open(address, { rootCertificates: pem("client") }).encode("문장"), denied);
    await assert.rejects(open(address, { tls: true }).encode("문장"), denied);
  });

  test("mutual TLS", async () => {
    const credentials = ServerCredentials.createSsl(readFileSync(pem("client")), serverKeys(), true);
    const { address } = await gateway({ credentials });
    const options = { rootCertificates: pem("server"), clientCertificate: pem("client"), clientKey: pem("client.key") };
    await assertEmbedded(await open(address, options).encode(SENTENCES), SENTENCES);
    await assert.rejects(open(address, { rootCertificates: pem("server") }).encode("문장"), ServerUnavailable);
  });

  test("a certificate file that is not there is named", () => {
    const named = { name: "InvalidInput", message: /no\.pem/ };
    assert.throws(() => new SentenceEncoder(url, { rootCertificates: "no.pem" }), named);
  });

  test("the access key travels in Triton's header", async () => {
    const { address, requests } = await gateway();
    await open(address, { accessKey: "a key" }).encode("문장");
    assert.deepEqual(requests[0].get("triton-grpc-protocol-access-key"), ["a key"]);
    // In Triton's own words.
    const details = "This protocol is restricted, expecting header 'triton-grpc-protocol-access-key'";
    const locked = await gateway({ refuse: () => ({ code: status.UNAVAILABLE, details }) });
    const denied = { name: "AccessDenied", message: /give the server's accessKey/ };
    await assert.rejects(open(locked.address).encode("문장"), denied);
  });
});

describe("the package", () => {
  test("is the same for CommonJS", async () => {
    const commonjs = createRequire(import.meta.url)("sentriton");
    assert.deepEqual(Object.keys(commonjs).sort(), Object.keys(await import("sentriton")).sort());
    const encoder = new commonjs.SentenceEncoder(url);
    after(() => encoder.close());
    assert.equal((await encoder.encode("문장")).length, 256);
  });
});
