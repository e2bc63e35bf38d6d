/** Chooses the server of the next request: the least busy one that answers. */

import type { Connection } from "./connection.js";
import { type Deadline, MARGIN_S } from "./deadline.js";
import { DeadlineExceeded, ServerUnavailable } from "./errors.js";

const REST_S = 1; // pause before an unavailable server is retried
const LONGEST_REST_S = 30; // for a silent server, since each probe delays a request by the patience
const LEAST_PATIENCE_S = 2;
const PATIENCE = 4; // times the slowest recent answer
const FADING = 0.95; // of the slowest answer, per further answer

/** One server: its connection and its state. Times are seconds of any steady clock. */
export class Endpoint {
  restingUntil = 0;
  private silences = 0; // in a row, since its last answer
  private lastAnswer = -Infinity;
  private readonly underWay = new Map<object, number>(); // requests by the time of sending, oldest first

  constructor(readonly connection: Connection) {}

  /** How many requests are in flight. */
  get inFlight(): number {
    return this.underWay.size;
  }

  /** Whether it is silent, and gets only one request until it answers. */
  get probed(): boolean {
    return this.silences > 0 && this.inFlight > 0;
  }

  /** Records a request that leaves for it. */
  begin(request: object, now: number): void {
    this.underWay.set(request, now);
  }

  /** Records the end of a request, with an answer or an error. */
  end(request: object): void {
    this.underWay.delete(request);
  }

  /** Records its answer to a request. */
  answered(now: number): void {
    this.lastAnswer = now;
    this.silences = 0;
    this.restingUntil = 0;
  }

  /** Pauses it after a failure, so that others are tried first. */
  rest(now: number): void {
    this.restingUntil = Math.max(this.restingUntil, now + REST_S);
  }

  /** Pauses it because another server answered a copy of its request first. Each pause in a row is longer. */
  fellSilent(now: number): void {
    if (this.restingUntil > now) return;
    this.silences += 1;
    this.restingUntil = now + Math.min(LONGEST_REST_S, REST_S * 2 ** (this.silences - 1));
  }

  /** The time in which the requests in flight got no answer, or 0 without requests. */
  silentS(now: number): number {
    for (const oldest of this.underWay.values()) return now - Math.max(oldest, this.lastAnswer);
    return 0;
  }

  /** Whether it answered nothing for `patienceS`, with a request in flight since `sent`. */
  silentSince(sent: number, now: number, patienceS: number): boolean {
    return now - Math.max(sent, this.lastAnswer) >= patienceS;
  }
}

/** The servers of one client. */
export class Endpoints {
  private turn = 0;
  private slowestS = 0;

  constructor(readonly all: readonly Endpoint[]) {}

  /** Their addresses. */
  get url(): string {
    return this.all.map(({ connection }) => connection.address).join();
  }

  /** The time for an answer, before another server gets the request as well. */
  get patienceS(): number {
    return Math.max(LEAST_PATIENCE_S, PATIENCE * this.slowestS);
  }

  /** Records an answer by one of the servers. */
  answered(endpoint: Endpoint, tookS: number, now: number): void {
    this.slowestS = Math.max(tookS, FADING * this.slowestS);
    endpoint.answered(now);
  }

  /**
   * The least busy server that answers, in turn among equals, else the one with the longest pause. A silent server gets
   * one request at a time until it answers.
   */
  choose(now: number): Endpoint {
    const turn = this.inTurn();
    const awake = turn.filter((endpoint) => this.answers(endpoint, now));
    if (awake.length === 0) return least(turn, (endpoint) => endpoint.restingUntil);
    return least(awake, (endpoint) => endpoint.inFlight);
  }

  /**
   * The least busy server that answers, other than `first`, or undefined. A server near the end of the patience does
   * not count, so slow servers do not get requests twice.
   */
  another(first: Endpoint, now: number): Endpoint | undefined {
    const fresh = (endpoint: Endpoint): boolean => endpoint.silentS(now) < this.patienceS / 2;
    const others = this.inTurn().filter((each) => each !== first && this.answers(each, now) && fresh(each));
    return others.length === 0 ? undefined : least(others, (endpoint) => endpoint.inFlight);
  }

  private inTurn(): Endpoint[] {
    this.turn = (this.turn + 1) % this.all.length;
    return [...this.all.slice(this.turn), ...this.all.slice(0, this.turn)];
  }

  private answers(endpoint: Endpoint, now: number): boolean {
    return endpoint.restingUntil <= now && !endpoint.probed && endpoint.silentS(now) < this.patienceS;
  }
}

/**
 * Asks the servers in turn for the manifest. Each has little time at first, and a silent server has more in its next
 * turn. A server that failed in another way, or reported a timeout before its deadline, has no further turn.
 */
export class Inquiry {
  failure: unknown;
  private readonly turns: { endpoint: Endpoint; patienceS: number }[];
  private until: number | undefined; // of the last turn

  constructor(
    private readonly endpoints: Endpoints,
    private readonly deadline: Deadline,
  ) {
    this.turns = endpoints.all.map((endpoint) => ({ endpoint, patienceS: LEAST_PATIENCE_S }));
  }

  /** The server to ask and its time in seconds; undefined when all failed or the deadline has passed. */
  turn(now: number): { endpoint: Endpoint; timeS: number } | undefined {
    const next = this.turns[0];
    if (next === undefined) return undefined;
    const leftS = this.deadline.leftS(now);
    if (leftS === 0 || (this.until !== undefined && this.deadline.over(now + MARGIN_S))) {
      this.failure = this.deadline.exceeded(this.endpoints.url);
      return undefined;
    }
    const { endpoint, patienceS } = next;
    const timeS = this.turns.length === 1 ? leftS : Math.min(patienceS, leftS);
    this.until = now + timeS;
    return { endpoint, timeS };
  }

  /** The outcome of a turn. */
  failed(error: unknown, now: number): void {
    const { endpoint, patienceS } = this.turns.shift()!;
    this.failure = error;
    if (error instanceof ServerUnavailable) endpoint.rest(now);
    if (error instanceof DeadlineExceeded && now >= this.until! - MARGIN_S) {
      endpoint.fellSilent(now);
      this.turns.push({ endpoint, patienceS: 2 * patienceS });
    }
  }
}

function least(endpoints: readonly Endpoint[], value: (endpoint: Endpoint) => number): Endpoint {
  return endpoints.reduce((best, endpoint) => (value(endpoint) < value(best) ? endpoint : best));
}
