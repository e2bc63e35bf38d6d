// A small gRPC server that speaks the protocol and computes nothing: it answers right, wrongly, late or not at all.

import { setTimeout as sleep } from "node:timers/promises";

import { Server, ServerCredentials } from "@grpc/grpc-js";

import { GRPCInferenceServiceService } from "../dist/esm/generated/inference/inference.js";

export const DIMENSION = 4;
export const WORDS = Array.from({ length: 4000 }, (_, number) => `w${number}`);

/** manifest.json of such a server. */
export const MANIFEST = {
  name: "small",
  fingerprint: "f".repeat(64),
  dimension: DIMENSION,
  max_seq_length: 32,
  vocab_size: 4000,
  max_batch_size: 64,
  pooling: ["mean"],
  include_prompt: true,
  prompts: {},
  default_prompt_name: null,
  similarity: "cosine",
  precision: "fp32",
  device: "cpu",
  min_cosine: 0.99,
  parity: { sentences: 3, min_cosine: 1 },
  files: { "tokenizer.json": "a".repeat(64) },
  sentriton_version: "0.1.0",
};

/** The server's answer for words: the word's number in every dimension. */
export function vectors(words) {
  return words.map((word) => new Float32Array(DIMENSION).fill(Number(word.slice(1))));
}

/**
 * An open server. `assets` has the contents of its files (values or text). `change` alters each embedding's response and
 * `changeAsset` each asset's. `refuse(number, words)` may give an error. A request takes `delayS`, and none is answered while
 * `silent`. `asked` counts requests for assets, `received` those for embeddings, `ended` both. `cancelled` counts those that
 * ended so. `words` has the words of each embedding's request, `atOnce` the most at a time.
 */
export async function openSmallServer() {
  const state = {
    assets: { "manifest.json": { ...MANIFEST }, "golden.json": {} },
    change: () => {},
    changeAsset: () => {},
    refuse: () => undefined,
    delayS: 0,
    silent: false,
    asked: 0,
    received: 0,
    ended: 0,
    cancelled: 0,
    words: [],
    underWay: 0,
    atOnce: 0,
    timeoutsUs: [],
  };
  let closed = false;

  async function wait(call, delayS) {
    const end = performance.now() + 1000 * delayS;
    while ((performance.now() < end || state.silent) && !call.cancelled && !closed) await sleep(5);
  }

  async function asset(call) {
    state.asked += 1;
    await wait(call, 0);
    const content = state.assets[call.request.rawInputContents[0].toString("utf8", 4)];
    const bytes = Buffer.from(typeof content === "string" ? content : JSON.stringify(content));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    const answer = response("assets", "content", "BYTES", [1], Buffer.concat([length, bytes]));
    return state.changeAsset(answer) ?? answer;
  }

  async function embed(call) {
    const { request } = call;
    const words = request.rawInputContents[0].toString("latin1").match(/w\d+/g);
    const refusal = state.refuse(state.received, words);
    state.words.push(words);
    state.received += 1;
    state.underWay += 1;
    state.atOnce = Math.max(state.atOnce, state.underWay);
    state.timeoutsUs.push(request.parameters.timeout.parameterChoice.value);
    try {
      await wait(call, state.delayS);
      if (refusal) throw refusal;
      const rows = Buffer.concat(vectors(words).map(({ buffer }) => Buffer.from(buffer)));
      const answer = response("embed_text", "sentence_embedding", "FP32", [words.length, DIMENSION], rows);
      return state.change(answer) ?? answer;
    } finally {
      state.underWay -= 1;
    }
  }

  const server = new Server();
  server.addService(GRPCInferenceServiceService, {
    async modelInfer(call, respond) {
      try {
        respond(null, await (call.request.modelName === "assets" ? asset(call) : embed(call)));
      } catch (error) {
        respond(error);
      } finally {
        state.ended += 1;
        if (call.cancelled) state.cancelled += 1;
      }
    },
  });
  const port = await new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const close = () => {
    closed = true;
    server.forceShutdown();
  };
  return Object.assign(state, { address: `127.0.0.1:${port}`, close });
}

function response(modelName, name, datatype, shape, raw) {
  const outputs = [{ name, datatype, shape, parameters: {}, contents: undefined }];
  return { modelName, modelVersion: "1", id: "", parameters: {}, outputs, rawOutputContents: [raw] };
}
