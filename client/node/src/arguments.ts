/** Checks callers' arguments. `InvalidInput` names argument, value and allowed values. */

import { inspect } from "node:util";

import { InvalidInput } from "./errors.js";

/** The sentences as an array, and whether it was a single string. */
export function asTexts(sentences: unknown): { texts: readonly string[]; single: boolean } {
  if (typeof sentences === "string") {
    checkUnicode("sentences", sentences);
    return { texts: [sentences], single: true };
  }
  if (!Array.isArray(sentences)) {
    throw new InvalidInput(`sentences is ${shown(sentences)}; give a string or an array of strings`);
  }
  for (const [place, text] of sentences.entries()) {
    if (typeof text !== "string") {
      throw new InvalidInput(`sentences[${place}] is ${shown(text)} (${typeof text}); every sentence must be a string`);
    }
    checkUnicode(`sentences[${place}]`, text);
  }
  return { texts: sentences as string[], single: false };
}

/** Rejects a text with a lone surrogate, half of a UTF-16 pair, which has no UTF-8. */
export function checkUnicode(name: string, text: string): void {
  if (text.isWellFormed()) return;
  const place = Array.from(text).findIndex((character) => !character.isWellFormed());
  throw new InvalidInput(
    `${name} has a lone surrogate at character ${place}, which has no UTF-8; ` +
      "give whole characters (a string cut in the middle of an emoji leaves such halves)",
  );
}

/** Rejects an option that is not among the keys of `options`, since a misspelt one would have no effect. */
export function checkNames(of: string, given: object, options: object): void {
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(options, name));
  if (unknown === undefined) return;
  throw new InvalidInput(`${of} has no option ${shown(unknown)}; its options are ${Object.keys(options).join(", ")}`);
}

/** `value` as a whole number from 1 to `most`. */
export function wholeNumber(name: string, value: unknown, most = Number.MAX_SAFE_INTEGER): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= most) return value;
  const allowed = most === Number.MAX_SAFE_INTEGER ? "whole numbers from 1" : `1 to ${most}`;
  throw new InvalidInput(`${name} is ${shown(value)}; allowed are ${allowed}`);
}

/** `value` as a finite number above 0. */
export function positive(name: string, value: unknown): number {
  if (typeof value === "number" && value > 0 && Number.isFinite(value)) return value;
  throw new InvalidInput(`${name} is ${shown(value)}; allowed are finite numbers above 0`);
}

function shown(value: unknown): string {
  // In Node's format, since JSON has no maps, no sets and no bigints.
  return inspect(value, { depth: 1, breakLength: Infinity }).slice(0, 200);
}
