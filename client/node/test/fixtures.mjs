// Small servers and encoders that end with the test, and a clock.

import { after } from "node:test";

import { SentenceEncoder } from "sentriton";

import { openSmallServer, WORDS } from "./small_server.mjs";

export const THREE = WORDS.slice(0, 3);
export const MANY = WORDS.slice(0, 400);
export const SOON_S = 30; // a busy machine is far below it, and a client that waits for its default of 60 s is above

export async function small(changes = {}) {
  const server = await openSmallServer();
  after(server.close);
  return Object.assign(server, changes);
}

export function open(url, options = {}) {
  const encoder = new SentenceEncoder(url, options);
  after(() => encoder.close());
  return encoder;
}

/** The duration of `body`, in seconds. */
export async function timed(body) {
  const started = performance.now();
  await body();
  return (performance.now() - started) / 1000;
}

/** A `refuse` of the server that makes it silent with its request number `first`. */
export function silentFrom(first, server) {
  return (number) => {
    if (number === first) server.silent = true;
  };
}
