/** Which of several servers gets the next request: the one with the fewest under way, among those that answer. */

import type { Connection } from "./connection.js";
import { type Deadline, MARGIN_S } from "./deadline.js";
import { DeadlineExceeded, ServerUnavailable } from "./errors.js";

const REST_S = 1; // a server that was away is retried after this time
const LONGEST_REST_S = 30; // of a server that stays silent: each probe delays one request by the patience
const LEAST_PATIENCE_S = 2;
const PATIENCE = 4; // times the slowest recent answer
const FADING = 0.95; // of the slowest answer, with each further one

/** One server: its connection and its state. Times are seconds of any steady clock. */
export class Endpoint {
  restingUntil = 0;
  private silences = 0; // in a row, since its last answer
  private lastAnswer = -Infinity;
  private readonly underWay = new Map<object, number>(); // requests by when they were sent, oldest first

  constructor(readonly connection: Connection) {}

  /** How many requests are under way. */
  get inFlight(): number {
    return this.underWay.size;
  }

  /** Whether it fell silent and gets no more than one request until it answers. */
  get probed(): boolean {
    return this.silences > 0 && this.inFlight > 0;
  }

  /** A request leaves for it. */
  begin(request: object, now: number): void {
    this.underWay.set(request, now);
  }

  /** A request ended, with an answer or an error. */
  end(request: object): void {
    this.underWay.delete(request);
  }

  /** It answered a request. */
  answered(now: number): void {
    this.lastAnswer = now;
    this.silences = 0;
    this.restingUntil = 0;
  }

  /** It did not answer: leave it alone for a moment, so that the others are tried first. */
  rest(now: number): void {
    this.restingUntil = Math.max(this.restingUntil, now + REST_S);
  }

  /** Another server answered a later copy of its request sooner: it rests, longer each time in a row. */
  fellSilent(now: number): void {
    if (this.restingUntil > now) return;
    this.silences += 1;
    this.restingUntil = now + Math.min(LONGEST_REST_S, REST_S * 2 ** (this.silences - 1));
  }

  /** How long requests have been under way without an answer to any; 0 when none is. */
  silentS(now: number): number {
    for (const oldest of this.underWay.values()) return now - Math.max(oldest, this.lastAnswer);
    return 0;
  }

  /** Whether it answered nothing for as long as `patienceS`, with a request under way since `sent`. */
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

  /** How long an answer may take before another server is asked as well. */
  get patienceS(): number {
    return Math.max(LEAST_PATIENCE_S, PATIENCE * this.slowestS);
  }

  /** One of the servers answered a request. */
  answered(endpoint: Endpoint, tookS: number, now: number): void {
    this.slowestS = Math.max(tookS, FADING * this.slowestS);
    endpoint.answered(now);
  }

  /**
   * The least busy server that answers, in turn where several are; none does: the one that rested longest. A server
   * that fell silent gets one request at a time until it answers.
   */
  choose(now: number): Endpoint {
    const turn = this.inTurn();
    const awake = turn.filter((endpoint) => this.answers(endpoint, now));
    if (awake.length === 0) return least(turn, (endpoint) => endpoint.restingUntil);
    return least(awake, (endpoint) => endpoint.inFlight);
  }

  /**
   * The least busy server that answers, besides the `first`; undefined when none does. One that has nearly used up the
   * patience is no better than the first: slow servers are not asked twice.
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
 * Which server to ask for its manifest next, and how long to wait. Each of several gets little time at first, and a
 * silent one more in its next turn. A server has no second turn if it failed in another way, or reported before its
 * deadline that it was late.
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

  /** The server to ask and the seconds that it has to answer; undefined when all failed or the time is over. */
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
