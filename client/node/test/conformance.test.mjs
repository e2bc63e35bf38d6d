// The cases that every client passes, against the server at $SENTRITON_URL. Run by tests/polyglot/test_node.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, test } from "node:test";

import * as sentriton from "sentriton";

import { Connection } from "../dist/esm/connection.js";
import { textRequest } from "../dist/esm/protocol.js";
import { resolveSettings } from "../dist/esm/settings.js";
import { cosine } from "../dist/esm/similarity.js";

const FILE = new URL("../../../tests/polyglot/conformance.json", import.meta.url);
const conformance = JSON.parse(readFileSync(FILE, "utf8"));
const texts = conformance.sentences.map(({ text, times }) => text.repeat(times));
const vectors = conformance.sentences.map(({ vector }) => decode(vector));

function decode(base64) {
  const bytes = new Uint8Array(Buffer.from(base64, "base64"));
  return new Float32Array(bytes.buffer);
}

/** {"truncate_dim": 64} as this language names it: {truncateDim: 64}. */
function camelCase(options = {}) {
  const renamed = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(options).map(([name, value]) => [renamed(name), value]));
}

function expectedVectors({ sentences, vectors: own, options = {} }) {
  const full = own ? own.map(decode) : sentences.map((place) => vectors[place]);
  return full.map((vector) => vector.subarray(0, options.truncate_dim ?? vector.length));
}

function checkVectors(found, testCase) {
  const expected = expectedVectors(testCase);
  assert.equal(found.length, expected.length);
  found.forEach((vector, place) => {
    assert.ok(vector instanceof Float32Array);
    assert.equal(vector.length, expected[place].length);
    const similarity = cosine(vector, expected[place]);
    assert.ok(similarity >= conformance.min_cosine, `row ${place}: cosine ${similarity}`);
    const length = testCase.options?.normalize_embeddings ? 1 : Math.hypot(...expected[place]);
    assert.ok(Math.abs(Math.hypot(...vector) - length) < 1e-4, `row ${place}: length ${Math.hypot(...vector)}`);
  });
}

async function embed(testCase) {
  if (testCase.utf8 !== undefined) return sendBytes(Buffer.from(testCase.utf8, "base64"));
  const { url, ...settings } = camelCase(testCase.settings);
  const encoder = new sentriton.SentenceEncoder(url, settings);
  try {
    const { utf16, sentences } = testCase;
    const given = utf16 ? [String.fromCharCode(...utf16)] : sentences.map((place) => texts[place]);
    const found = await encoder.encode(testCase.single ? given[0] : given, camelCase(testCase.options));
    return testCase.single ? [found] : found;
  } finally {
    encoder.close();
  }
}

/** Strings of this language hold no bytes, so these go in a request made by hand. */
async function sendBytes(bytes) {
  const settings = resolveSettings(undefined, {});
  const connection = new Connection(settings.addresses[0], settings);
  const { fingerprint } = JSON.parse(await connection.asset("manifest.json", 10));
  const request = textRequest(["x"], { fingerprint, priority: "query", timeoutS: 10 });
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  request.rawInputContents = [Buffer.concat([length, bytes])];
  try {
    await connection.infer(request, 10);
  } finally {
    connection.close();
  }
}

describe("conformance", () => {
  for (const testCase of conformance.cases) {
    test(testCase.name, async () => {
      if (testCase.error === undefined) {
        checkVectors(await embed(testCase), testCase);
        return;
      }
      await assert.rejects(embed(testCase), (error) => {
        assert.ok(error instanceof sentriton[testCase.error], `${error?.stack}`);
        assert.equal(error.name, testCase.error);
        const missing = testCase.says.filter((words) => !error.message.includes(words));
        assert.deepEqual(missing, [], error.message);
        return true;
      });
    });
  }

  test("similarity", async () => {
    const { first, second, scores } = conformance.similarity;
    const encoder = new sentriton.SentenceEncoder();
    after(() => encoder.close());
    const rows = (places) => places.map((place) => vectors[place]);
    const found = await encoder.similarity(rows(first), rows(second));
    assert.equal(found.length, scores.length);
    found.forEach((row, place) => {
      assert.equal(row.length, scores[place].length);
      row.forEach((score, column) => assert.ok(Math.abs(score - scores[place][column]) < 1e-5));
    });
  });
});
