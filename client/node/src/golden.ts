/** golden.json of a server: sentences with the vectors of sentence-transformers. */

/** The golden sentences and their vectors. */
export interface Golden {
  readonly sentences: readonly string[];
  readonly embeddings: readonly (readonly number[])[];
}

/**
 * Throws an Error when `text` is content other than sentences, at least one, each with a vector of `dimension` finite
 * numbers.
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
    throw new Error(`its sentence_embedding must be finite numbers of shape [${sentences.length}, ${dimension}]`);
  }
  return { sentences: sentences as string[], embeddings: rows as number[][] };
}
