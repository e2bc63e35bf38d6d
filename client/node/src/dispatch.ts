/** The course of one `encode` call: requests, retries and the end. */

import { setTimeout as sleep } from "node:timers/promises";

import { type Deadline, MARGIN_S, now } from "./deadline.js";
import type { Endpoint, Endpoints } from "./endpoints.js";
import {
  DeadlineExceeded,
  namingSentence,
  Overloaded,
  ownError,
  progressWords,
  SentritonError,
  ServerError,
  ServerUnavailable,
} from "./errors.js";
import type { ModelInferRequest, ModelInferResponse } from "./generated/inference/inference.js";
import { backoffS, type RetryBudget, type Window } from "./pacing.js";
import { charactersOf, type RequestRows } from "./requests.js";

const LOOK_AGAIN_S = 0.1; // for a server that could get the request as well

/** The parts of one call. */
export interface Call {
  endpoints: Endpoints;
  window: Window;
  budget: RetryBudget;
  deadline: Deadline;
  total: number;
  signal: AbortSignal | undefined;
  request: (rows: RequestRows, timeLeftS: number) => ModelInferRequest;
  collect: (rows: RequestRows, response: ModelInferResponse, address: string) => void;
  /** The rows of the next attempt; unset: those of the plan. */
  current?: () => RequestRows;
  /** A request waits for its retry, after this error. */
  pausing?: (error: unknown) => void;
  /** Resolves when a retry may leave. */
  resuming?: () => Promise<void>;
}

/** A request to one server, with the deadline `until`. */
interface Sending {
  readonly endpoint: Endpoint;
  readonly sent: number;
  readonly until: number;
  readonly outcome: Promise<Outcome>;
  readonly cancel: () => void;
}

/** The outcome of a request: a response or an error. */
type Outcome = { sending: Sending } & ({ response: ModelInferResponse } | { error: unknown });

/** The error of an attempt, and whether the attempt timed out. */
interface Failure {
  error: unknown;
  tooLate: boolean;
}

/** Sends the requests of one call within its window. */
export class Dispatcher {
  private finished = 0;
  private underWay = 0;
  private failure: { readonly error: unknown } | undefined; // the first one, which ends the call
  private readonly ending = new AbortController();

  constructor(private readonly call: Call) {}

  /** Resolves when every sentence is embedded. The first failure cancels its other requests. */
  async run(plan: Iterable<RequestRows>): Promise<void> {
    const { signal, window, deadline, total } = this.call;
    signal?.throwIfAborted();
    const sendings = new Set<Promise<void>>();
    const abort = (): void => this.ending.abort();
    signal?.addEventListener("abort", abort);
    const unwatch = deadline.watch();
    try {
      for (const rows of plan) {
        while (sendings.size >= window.limit) await this.anyOf(sendings);
        const sending = this.send(rows)
          .catch((error: unknown) => void (this.failure ??= { error }))
          .finally(() => sendings.delete(sending));
        sendings.add(sending);
      }
      while (sendings.size > 0) await this.anyOf(sendings);
      if (this.finished !== total) {
        throw this.withProgress(new SentritonError("the call ended early by a fault of this client; report it"));
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      unwatch();
      signal?.removeEventListener("abort", abort);
      this.ending.abort();
      await Promise.allSettled(sendings);
    }
  }

  /**
   * Waits for one of these, and throws the first failure. Promise.race would lose a failure in the same tick as an
   * answer.
   */
  private async anyOf(sendings: Iterable<Promise<void>>): Promise<void> {
    await Promise.race(sendings);
    if (this.failure !== undefined) throw this.failure.error;
  }

  private async send(rows: RequestRows): Promise<void> {
    let last: unknown;
    for (let attempt = 1; ; attempt++) {
      this.ending.signal.throwIfAborted();
      const time = now();
      this.call.deadline.looked(time);
      if (this.call.deadline.over(time)) throw this.withProgress(last ?? this.exceeded());
      const failure = await this.attempt(this.call.current?.() ?? rows, time);
      if (failure === undefined) return;
      last = failure.error;
      const pauseS = this.pauseS(failure, attempt);
      this.call.pausing?.(last);
      await sleep(1000 * pauseS, undefined, { signal: this.ending.signal });
      await this.call.resuming?.();
    }
  }

  /** Sends rows to one server, and to another as well if that one is silent. The first answer counts. */
  private async attempt(rows: RequestRows, begin: number): Promise<Failure | undefined> {
    const { endpoints, deadline, budget } = this.call;
    const sendings = [this.start(rows, endpoints.choose(begin), begin)];
    let awaitedSince = begin;
    this.underWay += 1;
    try {
      for (;;) {
        const outcome = await this.next(sendings, awaitedSince);
        if (outcome === undefined) {
          const time = now();
          const other = deadline.over(time) ? undefined : endpoints.another(sendings[0]!.endpoint, time);
          if (other !== undefined && budget.take()) sendings.push(this.start(rows, other, time));
          continue;
        }
        sendings.splice(sendings.indexOf(outcome.sending), 1);
        if ("response" in outcome) {
          this.answered(rows, outcome.sending, outcome.response, sendings);
          return undefined;
        }
        const failure = this.failed(outcome.sending, namingSentence(outcome.error, rows.indices));
        if (sendings.length === 0) return failure;
        awaitedSince = now();
      }
    } finally {
      this.underWay -= 1;
      for (const sending of sendings) sending.cancel();
    }
  }

  private start(rows: RequestRows, endpoint: Endpoint, sent: number): Sending {
    const timeS = this.call.deadline.leftS(sent);
    const cancelling = new AbortController();
    const signal = AbortSignal.any([cancelling.signal, this.ending.signal]);
    const answer = endpoint.connection.infer(this.call.request(rows, timeS), timeS, signal);
    const sending: Sending = {
      endpoint,
      sent,
      until: sent + timeS,
      cancel: () => cancelling.abort(),
      outcome: answer
        .then(
          (response) => ({ sending, response }),
          (error: unknown) => ({ sending, error }),
        )
        .finally(() => endpoint.end(sending)),
    };
    endpoint.begin(sending, sent);
    return sending;
  }

  /** The first outcome; undefined if a single server was silent for the patience. */
  private async next(sendings: readonly Sending[], awaitedSince: number): Promise<Outcome | undefined> {
    const { endpoints } = this.call;
    const outcomes = sendings.map(({ outcome }) => outcome);
    if (endpoints.all.length === 1 || sendings.length > 1) return Promise.race(outcomes);
    const waiting = new AbortController();
    const waitS = Math.max(awaitedSince + endpoints.patienceS - now(), LOOK_AGAIN_S);
    const patience = sleep(1000 * waitS, undefined, { signal: waiting.signal }).catch(() => undefined);
    try {
      return await Promise.race([...outcomes, patience]);
    } finally {
      waiting.abort();
    }
  }

  private answered(
    rows: RequestRows,
    sending: Sending,
    response: ModelInferResponse,
    slower: readonly Sending[],
  ): void {
    const { endpoints, deadline, window, budget, collect } = this.call;
    const { address } = sending.endpoint.connection;
    try {
      collect(rows, response, address);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      throw this.withProgress(new ServerError(`wrong answer from ${address}: ${error.message}`));
    }
    const time = now();
    for (const { endpoint, sent } of slower) {
      if (endpoint.silentSince(sent, time, endpoints.patienceS)) endpoint.fellSilent(time);
    }
    this.finished += rows.indices.length;
    deadline.moved(time);
    window.answered(charactersOf(rows.texts), time);
    endpoints.answered(sending.endpoint, time - sending.sent, time);
    budget.answered();
  }

  /** Records a failed request. Throws its error if a retry cannot help. */
  private failed({ endpoint, sent, until }: Sending, error: unknown): Failure {
    const time = now();
    // It was sent with little time left, and later answers have moved the call's deadline.
    const tooLate = error instanceof DeadlineExceeded && time >= until - MARGIN_S;
    if (!(tooLate || error instanceof Overloaded || error instanceof ServerUnavailable)) throw this.withProgress(error);
    if (error instanceof ServerUnavailable) endpoint.rest(time);
    if (tooLate && endpoint.silentSince(sent, time, this.call.endpoints.patienceS)) endpoint.fellSilent(time);
    if (error instanceof Overloaded) this.call.window.overloaded();
    return { error, tooLate };
  }

  /** The pause before another attempt. Throws the error if no time or no budget is left for it. */
  private pauseS({ error, tooLate }: Failure, attempt: number): number {
    const { deadline, budget } = this.call;
    deadline.looked(now());
    if (tooLate && deadline.over(now() + MARGIN_S)) throw this.withProgress(this.exceeded());
    const pauseS = backoffS(attempt);
    const ends = this.underWay > 0 ? deadline.end : deadline.time;
    if (now() + pauseS >= ends) throw this.withProgress(error);
    if (!(error instanceof ServerUnavailable) && !budget.take()) throw this.withProgress(error);
    return pauseS;
  }

  private exceeded(): DeadlineExceeded {
    return this.call.deadline.exceeded(this.call.endpoints.url);
  }

  private withProgress(error: unknown): unknown {
    const { total } = this.call;
    if (!(error instanceof SentritonError) || total === 1) return error;
    return ownError(error, progressWords(this.finished, total));
  }
}
