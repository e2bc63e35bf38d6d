/** Which sentences travel together: rows alike in length, longest first. */

const TOKENS_PER_REQUEST = 4096;

/** The rows of one request: which sentences they are, and their texts. */
export interface Rows {
  readonly indices: readonly number[];
  readonly texts: readonly string[];
}

/** What the cutting of requests depends on. */
export interface Limits {
  maxRows: number;
  maxSeqLength: number;
  prompt: string;
}

/**
 * Cut `texts` into requests of at most `maxRows` rows and 4,096 tokens (padding counted; one row may have more). The
 * server tokenizes, so a sentence counts as a token a character, up to `maxSeqLength`: a few more requests at worst.
 */
export function* planRequests(texts: readonly string[], { maxRows, maxSeqLength, prompt }: Limits): Generator<Rows> {
  const order = texts.map((_, index) => index).sort((a, b) => texts[b]!.length - texts[a]!.length);
  for (let start = 0; start < order.length; ) {
    const longest = Math.min(prompt.length + texts[order[start]!]!.length + 2, maxSeqLength);
    const rows = Math.max(1, Math.min(maxRows, Math.floor(TOKENS_PER_REQUEST / longest)));
    const indices = order.slice(start, start + rows);
    yield { indices, texts: indices.map((index) => prompt + texts[index]!) };
    start += rows;
  }
}
