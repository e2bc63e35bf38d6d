/** The limit of concurrent requests, and the pauses before retries. It uses no clock. */

/** Requests in flight that a call, or all small calls together, begin with. */
export const LEAST_IN_FLIGHT = 4; // one computed, one queued, and two in transfer

/**
 * The limit of a call's requests in flight. It grows while this raises the rate, and halves when the server is
 * overloaded. It compares the rate (characters per second) of each round, as many answers as the limit, with the best
 * one. The next call gets its limit and rate by `anew`. Times are seconds of any steady clock.
 */
export class Window {
  private characters = 0;
  private answers = 0;
  private since: number | undefined;

  constructor(
    private readonly most: number,
    public limit = LEAST_IN_FLIGHT,
    private bestRate = 0,
  ) {
    this.limit = Math.min(limit, most);
  }

  /** A window for the next call. It keeps the limit and the best rate, but not the current round. */
  anew(): Window {
    return new Window(this.most, this.limit, this.bestRate);
  }

  /** Count an answer for sentences of this number of characters. */
  answered(characters: number, now: number): void {
    if (this.since === undefined) {
      this.since = now;
      return;
    }
    this.characters += characters;
    this.answers += 1;
    if (this.answers < this.limit || now <= this.since) return;
    const rate = this.characters / (now - this.since);
    // After an overload it grows by one per round, at any rate.
    if (rate > 1.05 * this.bestRate || this.limit < LEAST_IN_FLIGHT) this.limit = Math.min(this.limit + 1, this.most);
    // The best rate fades, in case the server becomes slower.
    this.bestRate = Math.max(rate, 0.98 * this.bestRate);
    this.restart(now);
  }

  /** Halves the limit after a rejection. */
  overloaded(): void {
    this.limit = Math.max(1, Math.floor(this.limit / 2));
    this.restart(undefined);
  }

  private restart(since: number | undefined): void {
    this.characters = 0;
    this.answers = 0;
    this.since = since;
  }
}

const FIRST_DELAY_S = 0.1;
const MOST_DELAY_S = 3;

/** Seconds to wait before attempt number `attempt` + 1, counted from 1: exponential, with full jitter. */
export function backoffS(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(MOST_DELAY_S, FIRST_DELAY_S * 2 ** Math.min(attempt - 1, 16));
  return (0.2 + 0.8 * random()) * ceiling;
}

const CAPACITY = 100;
const PER_ANSWER = 0.2;

/**
 * Bounds the retries at an overloaded server to a share of its answers, so that callers do not double its load. A retry
 * takes a token of 100; an answer returns a fifth. Retries at an unavailable server are not bounded.
 */
export class RetryBudget {
  private tokens = CAPACITY;

  answered(): void {
    this.tokens = Math.min(CAPACITY, this.tokens + PER_ANSWER);
  }

  /** Takes a token for a retry; false if the budget is empty. */
  take(): boolean {
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}
