/** Which sentences travel together: rows alike in length, longest first. */

const TOKENS_PER_REQUEST = 4096;
const BYTES_PER_REQUEST = 1 << 20; // of UTF-8: the server takes no more

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
 * Cut `texts` into requests of at most `maxRows` rows, 4,096 tokens (padding counted) and 1 MiB of UTF-8; one row may
 * have more. The server tokenizes, so a sentence counts as a token a character, up to `maxSeqLength`: a few more
 * requests at worst.
 */
export function* planRequests(texts: readonly string[], { maxRows, maxSeqLength, prompt }: Limits): Generator<Rows> {
  const order = texts.map((_, index) => index).sort((a, b) => texts[b]!.length - texts[a]!.length);
  for (let start = 0; start < order.length; ) {
    const longest = Math.min(prompt.length + texts[order[start]!]!.length + 2, maxSeqLength);
    const most = Math.max(1, Math.min(maxRows, Math.floor(TOKENS_PER_REQUEST / longest)));
    const candidates = order.slice(start, start + most).map((index) => prompt + texts[index]!);
    const rows = rowsWithin(candidates, BYTES_PER_REQUEST);
    yield { indices: order.slice(start, start + rows), texts: candidates.slice(0, rows) };
    start += rows;
  }
}

/** How many of the first texts have `most` bytes of UTF-8 together, and no less than one. */
function rowsWithin(texts: readonly string[], most: number): number {
  let bytes = 0;
  const past = texts.findIndex((text) => (bytes += Buffer.byteLength(text)) > most);
  return past === -1 ? texts.length : Math.max(1, past);
}
