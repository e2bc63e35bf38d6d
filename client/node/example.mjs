// Ranks sentences by how close they are to the first: node example.mjs QUERY SENTENCE SENTENCE ...
// The server is $SENTRITON_URL, else localhost:8001.

import { SentenceEncoder } from "sentriton";

const [query, ...sentences] = process.argv.slice(2);
const encoder = new SentenceEncoder();
const embeddings = await encoder.encode([query, ...sentences]);
const [scores] = await encoder.similarity([embeddings[0]], embeddings.slice(1));
const ranked = sentences.map((sentence, place) => [scores[place], sentence]).sort(([a], [b]) => b - a);
for (const [score, sentence] of ranked) console.log(score.toFixed(3), sentence);
encoder.close();
