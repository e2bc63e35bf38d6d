/** Scores between embeddings, as sentence-transformers defines them: higher is more similar. */

import { InvalidInput } from "./errors.js";
import type { Manifest } from "./manifest.js";

type Row = ArrayLike<number>;
type Similarity = Manifest["similarity"];

/** Score every row of the first against every row of the second: [n, d] and [m, d] to [n, m]. */
export function scoreMatrix(name: Similarity, first: readonly Row[], second: readonly Row[]): Float32Array[] {
  const dimensions = new Set([...first, ...second].map((row) => row.length));
  if (dimensions.size > 1) {
    throw new InvalidInput(
      `embeddings of ${[...dimensions].join(" and ")} dimensions cannot be compared: ` +
        "these must be equal; use vectors of one model with one truncateDim",
    );
  }
  return first.map((a) => Float32Array.from(second, (b) => SCORES[name](a, b)));
}

const SCORES: Record<Similarity, (a: Row, b: Row) => number> = {
  cosine,
  dot,
  euclidean: (a, b) => -Math.sqrt(sum(a, (value, place) => (value - b[place]!) ** 2)),
  manhattan: (a, b) => -sum(a, (value, place) => Math.abs(value - b[place]!)),
};

/** Cosine of the angle; 0 with a row of zeros. */
export function cosine(a: Row, b: Row): number {
  return dot(a, b) / (Math.max(Math.sqrt(dot(a, a)), 1e-12) * Math.max(Math.sqrt(dot(b, b)), 1e-12));
}

function dot(a: Row, b: Row): number {
  return sum(a, (value, place) => value * b[place]!);
}

function sum(row: Row, term: (value: number, place: number) => number): number {
  let total = 0;
  for (let place = 0; place < row.length; place++) total += term(row[place]!, place);
  return total;
}
