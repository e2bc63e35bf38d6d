/** The deadline of a call. Times are seconds of any steady clock. */

import { DeadlineExceeded } from "./errors.js";

/** The interval of a call's looks at its deadline. */
export const LOOK_EVERY_S = 1;
const A_DAY_S = 86_400; // since gRPC, Triton and timers use integers

/** gRPC's timer and this clock differ by some milliseconds. A call this close to its end is over. */
export const MARGIN_S = 0.1;

/** With less time, no request is sent: a cancellation at its answer can crash Triton 24.10 (issue 7368). */
export const LEAST_S = 0.002;

/** Seconds of the process's steady clock. */
export function now(): number {
  return performance.now() / 1000;
}

/**
 * The end of a call: `timeoutS` after its start (undefined: no bound), or `stallTimeoutS` after its last answer.
 */
export class Deadline {
  private readonly ends: number;
  private stalls: number;
  private lastLook: number;

  constructor(
    private readonly timeoutS: number | undefined,
    private readonly stallTimeoutS: number,
    begin: number,
  ) {
    this.ends = begin + (timeoutS ?? Infinity);
    this.stalls = begin + stallTimeoutS;
    this.lastLook = begin;
  }

  /** The latest end of the call. */
  get end(): number {
    return this.ends;
  }

  /** The end of the call if no answer comes. */
  get time(): number {
    return Math.min(this.end, this.stalls);
  }

  /** The seconds for a request sent at `time`, or 0 if they are too few. */
  leftS(time: number): number {
    const leftS = this.time - time;
    return leftS < LEAST_S ? 0 : Math.min(leftS, A_DAY_S);
  }

  /** A request of the call was answered. */
  moved(time: number): void {
    this.stalls = time + this.stallTimeoutS;
    this.lastLook = time;
  }

  /** The call is running. Time in which it was blocked (a busy event loop) does not count as a stall. */
  looked(time: number): void {
    this.stalls += Math.max(0, time - this.lastLook - LOOK_EVERY_S);
    this.lastLook = time;
  }

  /** Calls `looked` until the function that it gives is called. */
  watch(): () => void {
    this.looked(now());
    const timer = setInterval(() => this.looked(now()), 1000 * LOOK_EVERY_S).unref();
    return () => clearInterval(timer);
  }

  /** Whether the call has timed out. */
  over(time: number): boolean {
    return this.leftS(time) === 0;
  }

  /** The error of a call that timed out, with its bound and the remedy. */
  exceeded(url: string): DeadlineExceeded {
    if (this.end <= this.stalls) {
      return new DeadlineExceeded(
        `the call took longer than its timeoutS of ${this.timeoutS} s; set a longer one, or none`,
      );
    }
    return new DeadlineExceeded(
      `${url} answered no request for ${this.stallTimeoutS} s; check the server (\`sentriton health\`), or set a longer ` +
        "stallTimeoutS",
    );
  }
}
