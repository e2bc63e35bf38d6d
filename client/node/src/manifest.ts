/** A server's description of its model. */

/** The served model. Read from the server's manifest.json, whose names have underscores. */
export interface Manifest {
  readonly name: string;
  /** sha256 of weights, tokenizer, modules, prompts and max_seq_length; the same at every precision and device. */
  readonly fingerprint: string;
  /** Length of a sentence's vector. */
  readonly dimension: number;
  /** The largest number of tokens of a sentence, including special ones. Longer sentences are truncated. */
  readonly maxSeqLength: number;
  readonly vocabSize: number;
  /** The largest number of rows of one request. */
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

type Check = (value: unknown) => boolean;

const SIMILARITIES: readonly unknown[] = ["cosine", "dot", "euclidean", "manhattan"];
const LARGEST_DIMENSION = 65_536; // far above any encoder's

const isString: Check = (value) => typeof value === "string";
const isText: Check = (value) => isString(value) && value !== "";
const isNumber: Check = (value) => typeof value === "number" && Number.isFinite(value);
const isSha256: Check = (value) => isString(value) && /^[0-9a-f]{64}$/.test(value as string);

function whole(least: number, most = 2 ** 31 - 1): [string, Check] {
  const holds: Check = (value) => Number.isInteger(value) && least <= (value as number) && (value as number) <= most;
  return [`a whole number from ${least} to ${most}`, holds];
}

function objectOf(check: Check, ...keys: string[]): Check {
  return (value) =>
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    keys.every((key) => Object.hasOwn(value, key)) &&
    Object.values(value).every(check);
}

const TEXT: [string, Check] = ["a text", isText];
const FIELDS: Record<keyof Manifest, [string, Check]> = {
  name: TEXT,
  fingerprint: TEXT,
  dimension: whole(1, LARGEST_DIMENSION),
  maxSeqLength: whole(1),
  vocabSize: whole(1),
  maxBatchSize: whole(1),
  pooling: ["a list of strings", (value) => Array.isArray(value) && value.every(isText)],
  includePrompt: ["true or false", (value) => typeof value === "boolean"],
  prompts: ["an object of strings", objectOf(isString)],
  defaultPromptName: ["a string or null", (value) => value === null || isString(value)],
  similarity: [`one of ${SIMILARITIES.join(", ")}`, (value) => SIMILARITIES.includes(value)],
  precision: TEXT,
  device: TEXT,
  minCosine: ["a number from -1 to 1", (value) => isNumber(value) && Math.abs(value as number) <= 1],
  parity: ["an object of numbers with min_cosine and sentences", objectOf(isNumber, "min_cosine", "sentences")],
  files: ["an object of sha256 sums with that of tokenizer.json", objectOf(isSha256, "tokenizer.json")],
  sentritonVersion: TEXT,
};

/**
 * Throws an Error if `text` is not a manifest, which names the missing or wrong field. Unknown fields of a newer server
 * are ignored.
 */
export function readManifest(text: string): Manifest {
  const values: unknown = JSON.parse(text);
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw new Error("the manifest is not an object");
  }
  const found = values as Record<string, unknown>;
  const named = Object.entries(FIELDS).map(([field, rule]) => [field, snakeCase(field), rule] as const);
  const missing = named.map(([, name]) => name).filter((name) => found[name] === undefined);
  if (missing.length > 0) throw new Error(`the manifest lacks ${missing.sort().join(", ")}`);
  for (const [, name, [allowed, holds]] of named) {
    if (!holds(found[name])) {
      throw new Error(`the manifest's ${name} is ${JSON.stringify(found[name]).slice(0, 200)}; expected ${allowed}`);
    }
  }
  const manifest = Object.fromEntries(named.map(([field, name]) => [field, found[name]])) as unknown as Manifest;
  const { defaultPromptName, prompts } = manifest;
  if (defaultPromptName !== null && !Object.hasOwn(prompts, defaultPromptName)) {
    throw new Error(`the manifest's default_prompt_name is "${defaultPromptName}"; expected one of its prompts`);
  }
  return manifest;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
