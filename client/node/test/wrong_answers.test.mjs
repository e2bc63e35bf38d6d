// A server whose answers are wrong: the client accepts none, and the error names the received value.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { status } from "@grpc/grpc-js";

import { open, small, THREE } from "./fixtures.mjs";
import { DIMENSION, vectors } from "./small_server.mjs";

/** A change to an answer: other numbers, of another shape. */
function rows(...shape) {
  return (answer) => {
    const size = shape.reduce((product, length) => product * length, 1);
    answer.outputs[0].shape = shape;
    answer.rawOutputContents[0] = Buffer.alloc(4 * size, 1);
  };
}

const number = (value) => (answer) => void answer.rawOutputContents[0].writeFloatLE(value, 20);
const content = (raw, output = {}) => (answer) => {
  Object.assign(answer.outputs[0], output);
  answer.rawOutputContents[0] = Buffer.from(raw);
};
const NOTHING = { modelName: "", modelVersion: "", id: "", parameters: {}, outputs: [], rawOutputContents: [] };

const WRONG_ANSWERS = {
  "one row for three": [rows(1, 4), /shape \[1, 4\]; expected \[3, 4\]/],
  "more rows": [rows(4, 4), /shape \[4, 4\]; expected \[3, 4\]/],
  "no rows": [rows(0, 4), /shape \[0, 4\]; expected/],
  "one column": [rows(3, 1), /shape \[3, 1\]; expected/],
  "fewer columns": [rows(3, 3), /shape \[3, 3\]; expected/],
  "more columns": [rows(3, 5), /shape \[3, 5\]; expected/],
  "no columns": [rows(3), /shape \[3\]; expected/],
  "a third axis": [rows(3, 4, 1), /shape \[3, 4, 1\]; expected/],
  NaN: [number(NaN), /NaN or infinity in row 1; expected numbers/],
  infinity: [number(-Infinity), /NaN or infinity in row 1/],
  integers: [(answer) => void (answer.outputs[0].datatype = "INT32"), /as "INT32"; expected FP32/],
  "cut off": [content(Buffer.alloc(44)), /44 bytes .*; expected 48/],
  "another output": [(answer) => void (answer.outputs[0].name = "token_embeddings"), /outputs "token_embeddings" with/],
  "no content": [(answer) => void (answer.rawOutputContents = []), /with 0 contents/],
  "another model's": [(answer) => void (answer.modelName = "rerank"), /model "rerank"; expected embed_text/],
  nothing: [() => NOTHING, /model ""; expected embed_text/],
};

describe("a wrong embedding is refused", () => {
  for (const [name, [change, says]] of Object.entries(WRONG_ANSWERS)) {
    test(name, async () => {
      const server = await small();
      server.assets["golden.json"] = { sentences: THREE, sentence_embedding: [[1, 2, 3, 4], [1, 1, 1, 1], [2, 2, 2, 2]] };
      const encoder = open(server.address);
      assert.deepEqual(await encoder.encode(THREE), vectors(THREE));
      server.change = change;
      await assert.rejects(encoder.encode(THREE), (error) => {
        assert.equal(error.name, "ServerError");
        assert.match(error.message, says);
        assert.ok(error.message.startsWith(`wrong answer from ${server.address}: `), error.message);
        assert.match(error.message, /\(0 of 3 sentences were embedded\)$/);
        return true;
      });
      await assert.rejects(encoder.health(), { name: "ServerError", message: says });
    });
  }
});

describe("a wrong manifest is the server's error", () => {
  test("that names the field", async () => {
    const server = await small();
    server.assets["manifest.json"].max_batch_size = null;
    const message = new RegExp(`^${server.address} sent a manifest.json .* max_batch_size is null; expected `);
    await assert.rejects(open(server.address).encode(THREE), { name: "ServerError", message });
    await assert.rejects(open(server.address).health(), { name: "ServerError", message });
  });

  for (const text of ["", "{", "[]", "null", "3", "{}", "[".repeat(100_000)]) {
    test(`where it is ${text.slice(0, 9) || "empty"}`, async () => {
      const server = await small();
      server.assets["manifest.json"] = text;
      const message = /sent a manifest.json that this client cannot read: /;
      await assert.rejects(open(server.address).encode(THREE), { name: "ServerError", message });
    });
  }
});

describe("a wrong asset is refused", () => {
  const element = [2, 0, 0, 0, 123, 125];
  const wrong = {
    "cut off": [content(element.slice(0, 5)), /in 5 bytes/],
    short: [content([0]), /begin with 0x00; expected shape/],
    empty: [content([]), /in 0 bytes/],
    two: [content([...element, ...element], { shape: [2] }), /shape \[2\] in 12 bytes/],
    "one of two": [content([...element, ...element]), /in 12 bytes/],
    "another output": [content(element, { name: "text" }), /outputs "text" with 1 contents; expected content/],
    numbers: [content(element, { datatype: "FP32" }), /as "FP32"; expected BYTES/],
    nothing: [() => NOTHING, /model ""; expected assets/],
  };
  for (const [name, [changeAsset, message]] of Object.entries(wrong)) {
    test(name, async () => {
      const { address } = await small({ changeAsset });
      await assert.rejects(open(address).encode(THREE), { name: "ServerError", message });
      await assert.rejects(open(address).health(), { name: "ServerError", message });
    });
  }
});

test("wrong golden vectors are the server's error", async () => {
  const golden = { sentences: ["w1"], sentence_embedding: [[1, 1, 1, 1]] };
  const wrong = [
    {},
    [],
    null,
    { ...golden, sentences: [] },
    { ...golden, sentences: [1] },
    { ...golden, sentence_embedding: null },
    { ...golden, sentence_embedding: [[1, 1, 1]] },
    { ...golden, sentence_embedding: [[1, 1, 1, "1"]] },
    { ...golden, sentence_embedding: [] },
    "no JSON",
  ];
  const server = await small();
  const encoder = open(server.address);
  for (const content of wrong) {
    server.assets["golden.json"] = content;
    const message = /sent a golden.json that this client cannot read: /;
    await assert.rejects(encoder.health(), { name: "ServerError", message });
  }
  server.assets["golden.json"] = golden;
  assert.equal((await encoder.health()).manifest.dimension, DIMENSION);
});

for (const batchSize of [1, 2, 64]) {
  test(`the server's error for a text names the sentence, in requests of ${batchSize} rows`, async () => {
    const refuse = (_, words) => {
      const row = words.indexOf("w10");
      const details = `text in row ${row} has 9 bytes; allowed are 8`;
      return row < 0 ? undefined : { code: status.INVALID_ARGUMENT, details };
    };
    const server = await small({ refuse });
    await assert.rejects(open(server.address).encode(["w1", "w100", "w10", "w1000"], { batchSize }), {
      name: "InvalidInput",
      message: /^sentences\[2\] has 9 bytes; allowed are 8 \(/,
    });
  });
}
