/** When a call has to end. Times are seconds of any steady clock. */

import { DeadlineExceeded } from "./errors.js";

/** A call looks at its deadline at least this often. */
export const LOOK_EVERY_S = 1;
const A_DAY_S = 86_400; // gRPC, Triton and timers count in integers, which have an end

/** gRPC's timer and this clock differ by some milliseconds: so close to the end, the call is over. */
export const MARGIN_S = 0.1;

/** With less time, no request is sent: one that is cancelled as it arrives can crash Triton 24.10 (issue 7368). */
const LEAST_S = 0.002;

/** Seconds of the process's steady clock. */
export function now(): number {
  return performance.now() / 1000;
}

/**
 * The end of a call: `timeoutS` after its begin (undefined: no bound), or `stallTimeoutS` after its last answer.
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

  /** The time at which the call ends in any case. */
  get end(): number {
    return this.ends;
  }

  /** When the call ends if nothing is answered until then. */
  get time(): number {
    return Math.min(this.end, this.stalls);
  }

  /** The seconds that a request sent at `time` may take; 0 if they are too few for a request. */
  leftS(time: number): number {
    const leftS = this.time - time;
    return leftS < LEAST_S ? 0 : Math.min(leftS, A_DAY_S);
  }

  /** A request of the call was answered. */
  moved(time: number): void {
    this.stalls = time + this.stallTimeoutS;
    this.lastLook = time;
  }

  /** The call is awake. Where it was not for long (a busy event loop), this was no silence of the server. */
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

  /** Whether the call has to end. */
  over(time: number): boolean {
    return this.leftS(time) === 0;
  }

  /** The error of a call that has to end: the bound that it met, and the remedy. */
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
