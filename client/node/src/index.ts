/** Sentence embeddings over gRPC: the client of a Sentriton server. */

export { type EncodeOptions, type HealthReport, SentenceEncoder } from "./encoder.js";
export {
  ContractMismatch,
  DeadlineExceeded,
  InvalidInput,
  Overloaded,
  SentritonError,
  ServerError,
  ServerUnavailable,
} from "./errors.js";
export type { Manifest } from "./manifest.js";
export type { ClientOptions, Priority } from "./settings.js";
