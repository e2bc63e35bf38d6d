/** What a server says about its model. */

/** The served model. Read from the server's manifest.json, whose names have underscores. */
export interface Manifest {
  readonly name: string;
  /** sha256 of what fixes the vectors' meaning; the same at every precision and on every device. */
  readonly fingerprint: string;
  /** Length of a sentence's vector. */
  readonly dimension: number;
  /** Most tokens of a sentence, special ones included; what is longer is cut. */
  readonly maxSeqLength: number;
  readonly vocabSize: number;
  readonly padTokenId: number;
  /** Most rows of one request. */
  readonly maxBatchSize: number;
  readonly pooling: readonly string[];
  /** Whether a prompt's tokens are pooled too. */
  readonly includePrompt: boolean;
  readonly prompts: Readonly<Record<string, string>>;
  readonly defaultPromptName: string | null;
  readonly similarity: "cosine" | "dot" | "euclidean" | "manhattan";
  readonly precision: string;
  readonly device: string;
  /** Smallest cosine to sentence-transformers' vectors that the precision allows. */
  readonly minCosine: number;
  readonly parity: Readonly<Record<string, number>>;
  readonly files: Readonly<Record<string, string>>;
  readonly sentritonVersion: string;
}

const FIELDS: readonly (keyof Manifest)[] = [
  "name",
  "fingerprint",
  "dimension",
  "maxSeqLength",
  "vocabSize",
  "padTokenId",
  "maxBatchSize",
  "pooling",
  "includePrompt",
  "prompts",
  "defaultPromptName",
  "similarity",
  "precision",
  "device",
  "minCosine",
  "parity",
  "files",
  "sentritonVersion",
];

/** Throws an Error when `text` is not a manifest. Fields of a newer server that this client lacks are left out. */
export function readManifest(text: string): Manifest {
  const values: unknown = JSON.parse(text);
  if (typeof values !== "object" || values === null) throw new Error("the manifest is not an object");
  const found = values as Record<string, unknown>;
  const named = FIELDS.map((field) => [field, found[snakeCase(field)]] as const);
  const missing = named.filter(([, value]) => value === undefined).map(([field]) => snakeCase(field));
  if (missing.length > 0) throw new Error(`the manifest lacks ${missing.sort().join(", ")}`);
  return Object.fromEntries(named) as unknown as Manifest;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
