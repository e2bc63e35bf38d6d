/** Divides sentences into requests: rows of similar length, longest first. */

/** The size of rows in a request. */
export interface Size {
  readonly tokens: number;
  readonly bytes: number;
}

const TOKENS_PER_REQUEST = 4096;
const SPECIAL_TOKENS = 2; // of a row, with most models
const BYTES_PER_REQUEST = 1 << 20; // of UTF-8: the server's limit

const NOTHING: Size = { tokens: 0, bytes: 0 };

/** The rows of one request: which sentences they are, and their texts. */
export interface RequestRows {
  readonly indices: readonly number[];
  readonly texts: readonly string[];
}

/** The limits of one request. */
export interface Limits {
  maxRows: number;
  maxSeqLength: number;
  prompt: string;
}

/**
 * Divide `texts` into requests of at most `maxRows` rows, 4,096 tokens and 1 MiB of UTF-8; one row may have more. The
 * server tokenizes, so each character counts as a token, up to `maxSeqLength`. At worst, this gives a few more
 * requests.
 */
export function* planRequests(
  texts: readonly string[],
  { maxRows, maxSeqLength, prompt }: Limits,
): Generator<RequestRows> {
  const order = texts.map((_, index) => index).sort((a, b) => texts[b]!.length - texts[a]!.length);
  let [start, size]: [number, Size] = [0, NOTHING];
  const rows = (end: number): RequestRows => {
    const indices = order.slice(start, end);
    return { indices, texts: indices.map((index) => prompt + texts[index]!) };
  };
  for (const [place, index] of order.entries()) {
    const longer = added(size, sizeOf([prompt + texts[index]!], maxSeqLength));
    if (place > start && (place - start === maxRows || !fits(longer))) {
      yield rows(place);
      [start, size] = [place, sizeOf([prompt + texts[index]!], maxSeqLength)];
    } else size = longer;
  }
  if (start < order.length) yield rows(order.length);
}

/** The size of these texts: a token per character, up to `maxSeqLength`, since the server tokenizes. */
export function sizeOf(texts: readonly string[], maxSeqLength: number): Size {
  let [tokens, bytes] = [0, 0];
  for (const text of texts) {
    tokens += Math.min(text.length + SPECIAL_TOKENS, maxSeqLength);
    bytes += Buffer.byteLength(text);
  }
  return { tokens, bytes };
}

/** The characters of these texts, as JavaScript counts them. */
export function charactersOf(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + text.length, 0);
}

/** Both sizes together. */
export function added(one: Size, other: Size): Size {
  return { tokens: one.tokens + other.tokens, bytes: one.bytes + other.bytes };
}

/** Whether rows of this size may be in one request. */
export function fits({ tokens, bytes }: Size, maxBytes = BYTES_PER_REQUEST): boolean {
  return tokens <= TOKENS_PER_REQUEST && bytes <= maxBytes;
}
