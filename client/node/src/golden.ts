/** golden.json, which a server hands out: sentences, and the vectors that sentence-transformers makes of them. */

/** The golden sentences and their vectors. */
export interface Golden {
  readonly sentences: readonly string[];
  readonly embeddings: readonly (readonly number[])[];
}

/**
 * Throws an Error when `text` is anything but sentences, at least one, with a vector of `dimension` finite numbers for
 * each.
 */
export function readGolden(text: string, dimension: number): Golden {
  const { sentences, sentence_embedding: rows } = (JSON.parse(text) ?? {}) as Record<string, unknown>;
  const isText = (value: unknown): boolean => typeof value === "string";
  if (!Array.isArray(sentences) || sentences.length === 0 || !sentences.every(isText)) {
    throw new Error("it has no list of sentences");
  }
  const isVector = (row: unknown): boolean =>
    Array.isArray(row) && row.length === dimension && row.every((value) => Number.isFinite(value));
  if (!Array.isArray(rows) || rows.length !== sentences.length || !rows.every(isVector)) {
    throw new Error(`its sentence_embedding is not of shape [${sentences.length}, ${dimension}] and finite`);
  }
  return { sentences: sentences as string[], embeddings: rows as number[][] };
}
