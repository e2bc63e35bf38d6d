/** Sentence embeddings over gRPC: the client of a Sentriton server. */

export { type EncodeOptions, type HealthReport, SentenceEncoder } from "./encoder.js";
export {
  AccessDenied,
  ContractMismatch,
  DeadlineExceeded,
  InvalidInput,
  Overloaded,
  SentritonError,
  ServerError,
  ServerUnavailable,
} from "./errors.js";
export type { Manifest } from "./manifest.js";
export type { ClientOptions, OnModelChange, Priority } from "./settings.js";
