/** Which sentences travel together: rows alike in length, longest first. */

const TOKENS_PER_REQUEST = 4096;
const SPECIAL_TOKENS = 2; // of a row, with most models
const BYTES_PER_REQUEST = 1 << 20; // of UTF-8: the server takes no more

/** The rows of one request: which sentences they are, and their texts. */
export interface RequestRows {
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
 * Cut `texts` into requests of at most `maxRows` rows, 4,096 tokens and 1 MiB of UTF-8; one row may have more. The server
 * tokenizes, so a sentence counts as a token a character, up to `maxSeqLength`: a few more requests at worst.
 */
export function* planRequests(
  texts: readonly string[],
  { maxRows, maxSeqLength, prompt }: Limits,
): Generator<RequestRows> {
  const order = texts.map((_, index) => index).sort((a, b) => texts[b]!.length - texts[a]!.length);
  let [start, tokens, bytes] = [0, 0, 0];
  const rows = (end: number): RequestRows => {
    const indices = order.slice(start, end);
    return { indices, texts: indices.map((index) => prompt + texts[index]!) };
  };
  for (const [place, index] of order.entries()) {
    const text = prompt + texts[index]!;
    const rowTokens = Math.min(text.length + SPECIAL_TOKENS, maxSeqLength);
    const rowBytes = Buffer.byteLength(text);
    const full = place - start === maxRows;
    if (place > start && (full || tokens + rowTokens > TOKENS_PER_REQUEST || bytes + rowBytes > BYTES_PER_REQUEST)) {
      yield rows(place);
      [start, tokens, bytes] = [place, 0, 0];
    }
    tokens += rowTokens;
    bytes += rowBytes;
  }
  if (start < order.length) yield rows(order.length);
}
