/** Which of several servers gets the next request: the one with the fewest under way, among those that answer. */

import type { Connection } from "./connection.js";

const REST_S = 1; // a server that was away is asked again after this long

/** One server: the way there, and what is known of it. Times are seconds of any steady clock. */
export class Endpoint {
  inFlight = 0;
  restingUntil = 0;

  constructor(readonly connection: Connection) {}

  /** It did not answer: leave it alone for a moment, so that the others are tried first. */
  rest(now: number): void {
    this.restingUntil = now + REST_S;
  }
}

/** The servers of one client. */
export class Endpoints {
  private turn = 0;

  constructor(readonly all: readonly Endpoint[]) {}

  /** The least busy server that is not resting, in turn where several are; all rest: the one that rested longest. */
  choose(now: number): Endpoint {
    this.turn = (this.turn + 1) % this.all.length;
    const turn = [...this.all.slice(this.turn), ...this.all.slice(0, this.turn)];
    const awake = turn.filter((endpoint) => endpoint.restingUntil <= now);
    if (awake.length === 0) return least(turn, (endpoint) => endpoint.restingUntil);
    return least(awake, (endpoint) => endpoint.inFlight);
  }
}

function least(endpoints: readonly Endpoint[], value: (endpoint: Endpoint) => number): Endpoint {
  return endpoints.reduce((best, endpoint) => (value(endpoint) < value(best) ? endpoint : best));
}
