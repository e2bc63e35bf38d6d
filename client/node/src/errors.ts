/**
 * The errors of Sentriton.
 *
 * ```text
 * SentritonError
 * ├── InvalidInput          the caller's argument or request is wrong; a retry cannot help
 * │   └── ContractMismatch  the server has another model than the one that the encoder has read
 * ├── AccessDenied          key or certificate: one side does not trust the other
 * ├── Overloaded            the server's queue is full, or the request waited too long
 * ├── ServerUnavailable     no server answers at the address, or the server is not healthy
 * ├── DeadlineExceeded      the call timed out
 * └── ServerError           the server failed, or its answer is wrong
 * ```
 */

import { type ServiceError, status } from "@grpc/grpc-js";

/** Base class of all errors of Sentriton. */
export class SentritonError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An argument or a request is wrong: the message names the given and the allowed value. */
export class InvalidInput extends SentritonError {}

/** The server has another model than the one whose manifest this client has read. */
export class ContractMismatch extends InvalidInput {}

/** The server requires another access key, or one side does not trust the other's certificate. */
export class AccessDenied extends SentritonError {}

/** The server rejected the request because of overload; it was not computed. */
export class Overloaded extends SentritonError {}

/** The server cannot be reached or does not serve. */
export class ServerUnavailable extends SentritonError {}

/** The call's deadline has passed. */
export class DeadlineExceeded extends SentritonError {}

/** The server failed, or its answer is wrong. */
export class ServerError extends SentritonError {}

/** The error of calls of a closed encoder. */
export function closedError(cause?: unknown): SentritonError {
  return new SentritonError("this encoder is closed; make a new one", { cause });
}

export type ErrorClass = new (message: string, options?: ErrorOptions) => SentritonError;

// All other statuses are server errors.
const BY_STATUS = new Map<status, ErrorClass>([
  [status.INVALID_ARGUMENT, InvalidInput],
  [status.DEADLINE_EXCEEDED, DeadlineExceeded],
  [status.NOT_FOUND, ServerUnavailable],
  [status.PERMISSION_DENIED, AccessDenied],
  [status.UNAUTHENTICATED, AccessDenied],
  [status.RESOURCE_EXHAUSTED, Overloaded],
  [status.UNAVAILABLE, ServerUnavailable],
]);

// Triton's words, for status codes that say less.
const OVERLOAD = ["lane is full", "exceeds maximum queue size", "request timeout expired"];
const DENIED = [
  "this protocol is restricted",
  // OpenSSL's words in Node for an invalid certificate.
  "self-signed certificate",
  "unable to verify the first certificate",
  "unable to get local issuer certificate",
  "unable to get issuer certificate",
  "certificate has expired",
  "does not match certificate's altnames",
];
// A full /dev/shm: the request was not computed, and answers in flight will free space.
const NO_ROOM = "failed to increase the shared memory pool size";
// A message above a limit: words of the gRPC libraries, of Envoy, and for a proxy's HTTP status.
const TOO_LARGE = [
  "message larger than max",
  "decompression larger than max",
  "a size larger than",
  "message exceeds maximum size",
  "message length too large",
  "maximum configured message size",
  "payload too large",
  "status: 413",
  "status code 413",
  "server: 413",
];
const SMALLER = "lower batchSize or shorten the sentences, or raise this limit of the server or proxy";
const SICK = ["is not healthy", "rst_stream", "stream removed"];
// The whole message of a call that a stopping Triton aborts. Calls that this client ends have other messages.
const BROKEN_OFF = "CANCELLED";
const MISMATCH = "fingerprint mismatch";
// The server's words for the text of a request.
const IN_ROW = /text in row (\d+) /;

// gRPC's words around the reason, for a call without a connection.
const NOT_CONNECTED = /^.*No connection established\. Last error: (.*?)\.? Resolution note: .*$/s;
// gRPC's words before the reason of a request that the client itself ends before it is sent.
const OF_METADATA = "Getting metadata from plugin failed with error: ";
// gRPC's reason if its proxy gives no connection.
const NO_REASON = "undefined";
const PROXIES = ["grpc_proxy", "https_proxy", "http_proxy"];
const IS_IT_RUNNING = "; is it running? `sentriton serve` on that machine starts it";

/** A copy of the error for another caller, with `words` after its message. */
export function ownError(error: SentritonError, words = ""): SentritonError {
  return new (error.constructor as ErrorClass)(`${error.message}${words}`, { cause: error.cause });
}

/** The error of a request for the sentences at `indices`. The message names the sentence, and not the row. */
export function namingSentence(error: unknown, indices: readonly number[]): unknown {
  if (!(error instanceof InvalidInput)) return error;
  const message = error.message.replace(IN_ROW, (_, row: string) => `sentences[${indices[Number(row)] ?? row}] `);
  return message === error.message ? error : new InvalidInput(message, { cause: error.cause });
}

/** A call's progress, for the end of its error's message; empty for a single sentence. */
export function progressWords(finished: number, total: number): string {
  if (total === 1) return "";
  const [done, all] = [finished, total].map((count) => count.toLocaleString("en"));
  return ` (${done} of ${all} sentences were embedded)`;
}

/** The class of error for a gRPC status and the server's message. */
export function errorClass(code: status, message: string): ErrorClass {
  const kind = BY_STATUS.get(code) ?? ServerError;
  const text = message.toLowerCase();
  if (kind === ServerUnavailable && OVERLOAD.some((words) => text.includes(words))) return Overloaded;
  if (kind === ServerUnavailable && DENIED.some((words) => text.includes(words))) return AccessDenied;
  if (kind === InvalidInput && text.includes(MISMATCH)) return ContractMismatch;
  const ofOwnWords = kind === Overloaded || kind === ServerError;
  if (ofOwnWords && TOO_LARGE.some((words) => text.includes(words))) return InvalidInput;
  if (kind === ServerError && text.includes(NO_ROOM)) return Overloaded;
  if (kind === ServerError && SICK.some((words) => text.includes(words))) return ServerUnavailable;
  if (code === status.CANCELLED && message === BROKEN_OFF) return ServerUnavailable;
  return kind;
}

/** The Sentriton error for one of gRPC, with the server's message and the address. */
export function translate(error: ServiceError, address: string): SentritonError {
  const message = error.details ?? "";
  const kind = errorClass(error.code, message);
  const cause = { cause: error };
  if (kind === ServerUnavailable) {
    const reason = message.replace(NOT_CONNECTED, (_, last: string) => notConnected(last)) || status[error.code];
    return new kind(`no answer from ${address}: ${reason}`, cause);
  }
  if (kind === AccessDenied) {
    const hint = message.includes("access-key") ? "; give the server's accessKey (or $SENTRITON_ACCESS_KEY)" : "";
    const reason = message.replace(NOT_CONNECTED, "$1") || status[error.code];
    return new kind(`no access to ${address}: ${reason}${hint}`, cause);
  }
  if (kind === InvalidInput && error.code !== status.INVALID_ARGUMENT) {
    return new kind(`a message to or from ${address} is too large: ${message}; ${SMALLER}`, cause);
  }
  if (kind === DeadlineExceeded) {
    return new kind(`${address} did not answer in time: ${message.replace(OF_METADATA, "") || status[error.code]}`, cause);
  }
  return new kind(message || status[error.code] || "UNKNOWN", cause);
}

function notConnected(reason: string): string {
  if (reason !== NO_REASON) return reason + IS_IT_RUNNING;
  const proxy = PROXIES.find((name) => process.env[name]) ?? PROXIES[0];
  return `the proxy in $${proxy} gives no connection to it; check the proxy, or add the server's host to $no_proxy`;
}
