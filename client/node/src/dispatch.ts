/** The course of one `encode` call: what to send next, what to send again, when to give up. */

import { setTimeout as sleep } from "node:timers/promises";

import type { Endpoints } from "./endpoints.js";
import { DeadlineExceeded, Overloaded, SentritonError, ServerUnavailable } from "./errors.js";
import type { ModelInferRequest, ModelInferResponse } from "./generated/inference/inference.js";
import { backoffS, type RetryBudget, type Window } from "./pacing.js";
import type { Rows } from "./requests.js";

/** What one call works with. Times are seconds of the process's steady clock. */
export interface Course {
  endpoints: Endpoints;
  window: Window;
  budget: RetryBudget;
  deadline: number;
  total: number;
  signal: AbortSignal | undefined;
  request: (rows: Rows, timeLeftS: number) => ModelInferRequest;
  collect: (rows: Rows, response: ModelInferResponse) => void;
}

/** Seconds of the process's steady clock. */
export function now(): number {
  return performance.now() / 1000;
}

/** Sends the requests of one call, as many at once as the window allows. */
export class Dispatcher {
  private finished = 0;
  private readonly ending = new AbortController();

  constructor(private readonly course: Course) {}

  /** Resolves when every sentence is embedded. At the first failure what is under way is cancelled. */
  async run(plan: Iterable<Rows>): Promise<void> {
    const { signal, window } = this.course;
    const underWay = new Set<Promise<void>>();
    const abort = (): void => this.ending.abort();
    signal?.addEventListener("abort", abort);
    try {
      for (const rows of plan) {
        while (underWay.size >= window.limit) await Promise.race(underWay);
        const sending = this.send(rows).finally(() => underWay.delete(sending));
        underWay.add(sending);
      }
      await Promise.all(underWay);
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
      this.ending.abort();
      await Promise.allSettled(underWay);
    }
  }

  private async send(rows: Rows): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.attempt(rows);
      } catch (error) {
        await sleep(1000 * this.pauseS(error, attempt), undefined, { signal: this.ending.signal });
      }
    }
  }

  private async attempt(rows: Rows): Promise<void> {
    const { endpoints, deadline, window, budget, request, collect } = this.course;
    this.ending.signal.throwIfAborted();
    const timeLeftS = deadline - now();
    if (timeLeftS <= 0) throw new DeadlineExceeded("the time for the call is over");
    const endpoint = endpoints.choose(now());
    endpoint.inFlight += 1;
    try {
      collect(rows, await endpoint.connection.infer(request(rows, timeLeftS), timeLeftS, this.ending.signal));
    } catch (error) {
      if (error instanceof ServerUnavailable) endpoint.rest(now());
      throw error;
    } finally {
      endpoint.inFlight -= 1;
    }
    this.finished += rows.indices.length;
    window.answered(rows.texts.reduce((sum, text) => sum + text.length, 0), now());
    budget.answered();
  }

  /** How long to wait before another attempt; throws `error` where repeating cannot help or there is no time for it. */
  private pauseS(error: unknown, attempt: number): number {
    if (!(error instanceof Overloaded || error instanceof ServerUnavailable)) throw this.withProgress(error);
    const pauseS = backoffS(attempt);
    if (now() + pauseS >= this.course.deadline) throw this.withProgress(error);
    if (error instanceof Overloaded) {
      this.course.window.overloaded();
      if (!this.course.budget.take()) throw this.withProgress(error);
    }
    return pauseS;
  }

  private withProgress(error: unknown): unknown {
    const { total } = this.course;
    if (!(error instanceof SentritonError) || total === 1) return error;
    const [finished, all] = [this.finished, total].map((count) => count.toLocaleString("en"));
    const kind = error.constructor as new (message: string, options?: ErrorOptions) => SentritonError;
    return new kind(`${error.message} (${finished} of ${all} sentences were embedded)`, { cause: error.cause });
  }
}
