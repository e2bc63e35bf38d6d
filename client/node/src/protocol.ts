/** Requests and responses of the models, as messages of protos/inference/inference.proto: no network. */

import { endianness } from "node:os";

import { ServerError } from "./errors.js";
import type { InferParameter, ModelInferRequest, ModelInferResponse } from "./generated/inference/inference.js";
import type { Priority } from "./settings.js";

/** The parameters of a request besides its tensors. */
export interface Parameters {
  /** The expected model. */
  fingerprint: string;
  /** The lane. */
  priority: Priority;
  /** The longest wait in the server's queue. */
  timeoutS: number;
}

/** A request to `embed_text`: `text` BYTES [rows, 1]. */
export function textRequest(texts: readonly string[], parameters: Parameters): ModelInferRequest {
  const { fingerprint, priority, timeoutS } = parameters;
  return request("embed_text", "text", [texts.length, 1], texts, {
    fingerprint: { parameterChoice: { $case: "stringParam", value: fingerprint } },
    lane: { parameterChoice: { $case: "stringParam", value: priority } },
    timeout: { parameterChoice: { $case: "int64Param", value: Math.max(1, Math.floor(timeoutS * 1e6)) } },
  });
}

/** A request to `assets`: `name` BYTES [1]. */
export function assetRequest(name: string): ModelInferRequest {
  return request("assets", "name", [1], [name], {});
}

/**
 * `sentence_embedding` of a response: a row for each sentence; the rows share a new buffer. Throws
 * `ServerError` for another shape, and for NaN or infinity if `finite`.
 */
export function readSentenceEmbedding(
  response: ModelInferResponse,
  rows: number,
  dimension: number,
  { finite = true } = {},
): Float32Array[] {
  const { shape, raw } = output(response, "sentence_embedding", "FP32", "embed_text");
  if (shape.length !== 2 || shape[0] !== rows || shape[1] !== dimension) {
    const expected = `[${rows}, ${dimension}]`;
    throw new ServerError(`the server sent a sentence_embedding of shape [${shape.join(", ")}]; expected ${expected}`);
  }
  const size = rows * dimension * 4;
  if (raw.length !== size) {
    throw new ServerError(`the server sent ${raw.length} bytes for a sentence_embedding; expected ${size}`);
  }
  // A copy, since floats must start at a multiple of 4, but the message's bytes may start anywhere in their buffer.
  const bytes = new Uint8Array(raw);
  if (endianness() === "BE") Buffer.from(bytes.buffer).swap32();
  const values = new Float32Array(bytes.buffer);
  const embeddings = Array.from({ length: rows }, (_, row) =>
    values.subarray(row * dimension, (row + 1) * dimension),
  );
  if (finite) checkFinite(embeddings);
  return embeddings;
}

/** Throws `ServerError` for the first row that has NaN or infinity. */
export function checkFinite(embeddings: readonly Float32Array[]): void {
  const row = embeddings.findIndex((embedding) => !embedding.every(Number.isFinite));
  if (row !== -1) {
    throw new ServerError(`the server sent a sentence_embedding with NaN or infinity in row ${row}; expected numbers`);
  }
}

/** `content` of a response of `assets`: BYTES [1]. Throws `ServerError` for another form. */
export function readAsset(response: ModelInferResponse): string {
  const { shape, raw } = output(response, "content", "BYTES", "assets");
  if (shape.length !== 1 || shape[0] !== 1 || raw.length < 4 || raw.readUInt32LE(0) !== raw.length - 4) {
    const begin = raw.toString("hex", 0, 4);
    throw new ServerError(
      `the server sent an asset of shape [${shape.join(", ")}] in ${raw.length} bytes that begin with 0x${begin}; ` +
        "expected shape [1], the first 4 bytes being the length of the rest",
    );
  }
  return raw.toString("utf8", 4);
}

/** Shape and bytes of the output `name`, which must have this datatype and come from this model. */
function output(
  response: ModelInferResponse,
  name: string,
  datatype: string,
  model: string,
): { shape: readonly number[]; raw: Buffer } {
  const { modelName, outputs, rawOutputContents } = response;
  if (modelName !== model) {
    throw new ServerError(`the server sent an answer of the model ${JSON.stringify(modelName)}; expected ${model}`);
  }
  const found = outputs.filter((each) => each.name === name);
  if (found.length !== 1 || rawOutputContents.length !== outputs.length) {
    const names = outputs.map((each) => JSON.stringify(each.name)).join(", ") || "none";
    throw new ServerError(
      `the server sent the outputs ${names} with ${rawOutputContents.length} contents; expected ${name} once, and a ` +
        "content for each output",
    );
  }
  if (found[0]!.datatype !== datatype) {
    throw new ServerError(`the server sent ${name} as ${JSON.stringify(found[0]!.datatype)}; expected ${datatype}`);
  }
  return { shape: found[0]!.shape, raw: rawOutputContents[outputs.indexOf(found[0]!)]! };
}

function request(
  modelName: string,
  name: string,
  shape: number[],
  texts: readonly string[],
  parameters: Record<string, InferParameter>,
): ModelInferRequest {
  return {
    modelName,
    modelVersion: "",
    id: "",
    parameters,
    inputs: [{ name, datatype: "BYTES", shape, parameters: {}, contents: undefined }],
    outputs: [],
    rawInputContents: [bytesTensor(texts)],
  };
}

function bytesTensor(texts: readonly string[]): Buffer {
  // Each element: its length as 4 bytes, little-endian, then UTF-8.
  const lengths = texts.map((text) => Buffer.byteLength(text));
  const bytes = Buffer.alloc(lengths.reduce((sum, length) => sum + 4 + length, 0));
  let place = 0;
  texts.forEach((text, index) => {
    place = bytes.writeUInt32LE(lengths[index]!, place);
    place += bytes.write(text, place);
  });
  return bytes;
}
