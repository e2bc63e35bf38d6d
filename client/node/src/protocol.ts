/** Requests and responses of the models, as messages of protos/inference/inference.proto: no network. */

import { endianness } from "node:os";

import { ServerError } from "./errors.js";
import type { InferParameter, ModelInferRequest, ModelInferResponse } from "./generated/inference/inference.js";
import type { Priority } from "./settings.js";

/** What a request says besides its tensors. */
export interface Parameters {
  /** The model that is meant. */
  fingerprint: string;
  /** The lane. */
  priority: Priority;
  /** How long the request may wait in the server's queue. */
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

/** `sentence_embedding` of a response: a row for each sentence; the rows share one buffer of their own. */
export function readSentenceEmbedding(response: ModelInferResponse): Float32Array[] {
  const [rows, dimension] = response.outputs[0]?.shape ?? [];
  const raw = response.rawOutputContents[0];
  if (rows === undefined || dimension === undefined || raw === undefined) {
    throw new ServerError("the server sent a response without a sentence_embedding");
  }
  if (raw.length !== rows * dimension * 4) {
    const shape = `[${rows}, ${dimension}]`;
    throw new ServerError(`the server sent ${raw.length} bytes for a sentence_embedding of shape ${shape}`);
  }
  // A copy: the message's bytes lie anywhere in a larger buffer, and floats must start at a multiple of 4.
  const bytes = new Uint8Array(raw);
  if (endianness() === "BE") Buffer.from(bytes.buffer).swap32();
  const values = new Float32Array(bytes.buffer);
  return Array.from({ length: rows }, (_, row) => values.subarray(row * dimension, (row + 1) * dimension));
}

/** `content` of a response of `assets`. */
export function readAsset(response: ModelInferResponse): string {
  const raw = response.rawOutputContents[0];
  if (raw === undefined || raw.length < 4 || raw.readUInt32LE(0) !== raw.length - 4) {
    throw new ServerError(`the server sent an asset that is cut off (${raw?.length ?? 0} bytes)`);
  }
  return raw.toString("utf8", 4);
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
