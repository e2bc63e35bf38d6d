/** Joins small calls of one encoder that wait at the same time. */

import { now } from "./deadline.js";
import { Dispatcher } from "./dispatch.js";
import type { Endpoints } from "./endpoints.js";
import { ContractMismatch, InvalidInput, ServerError } from "./errors.js";
import { Joint, Member, SharedDeadline, type SmallCall } from "./joint.js";
import { LEAST_IN_FLIGHT, type RetryBudget, Window } from "./pacing.js";
import { checkFinite, readSentenceEmbedding, textRequest } from "./protocol.js";
import type { RequestRows } from "./requests.js";
import type { Priority } from "./settings.js";

/** The rows of a joint request, and the calls that they belong to. */
interface JointRows extends RequestRows {
  readonly members: readonly Member[];
}

/** The small calls of one encoder. */
export class Joiner {
  private waiting: Member[] = [];
  private readonly joints = new Set<Joint>();
  private readonly pausing = new Set<() => void>(); // retries that wait for a place
  private readonly window: Window;
  private inFlight = 0;
  private gathering = false;

  constructor(
    private readonly endpoints: Endpoints,
    private readonly budget: RetryBudget,
    private readonly priority: Priority,
    maxInFlight: number,
  ) {
    const several = endpoints.all.some(({ connection }) => connection.address.startsWith("dns:")); // of one name
    const limit = several ? maxInFlight : Math.min(LEAST_IN_FLIGHT * endpoints.all.length, maxInFlight);
    this.window = new Window(limit, limit);
  }

  /** A row for each text of a call. Rejects with a separate error for each call. */
  async embed(call: SmallCall): Promise<Float32Array[]> {
    const member = new Member(call, this.endpoints.url, (each) => this.left(each));
    this.waiting.push(member);
    member.begin();
    this.gatherSoon();
    return member.embeddings;
  }

  /** Every call ends with an error. */
  close(error: () => Error): void {
    for (const member of [...this.waiting]) member.fail(error());
    for (const joint of [...this.joints]) for (const member of [...joint.members]) member.fail(error());
  }

  /** Sends the requests that may leave, after all ready callers have called. */
  private gatherSoon(): void {
    if (this.gathering || this.waiting.length === 0 || this.inFlight >= this.window.limit) return;
    this.gathering = true;
    setImmediate(() => {
      this.gathering = false;
      while (this.waiting.length > 0 && this.inFlight < this.window.limit) {
        const joint = this.gather();
        if (joint === undefined) break;
        void this.send(joint);
      }
    });
  }

  private gather(): Joint | undefined {
    const time = now();
    const first = this.waiting.find(({ call }) => !call.deadline.over(time));
    if (first === undefined) return undefined;
    const joint = new Joint(first);
    const left: Member[] = [];
    for (const member of this.waiting) {
      if (member !== first && !joint.take(member, time)) left.push(member);
    }
    this.waiting = left;
    this.joints.add(joint);
    this.inFlight += 1;
    return joint;
  }

  private async send(joint: Joint): Promise<void> {
    const { fingerprint, dimension } = joint.manifest;
    const deadline = new SharedDeadline(joint.members);
    const dispatcher = new Dispatcher({
      endpoints: this.endpoints,
      window: this.window,
      budget: this.budget,
      deadline,
      total: 1,
      signal: joint.leaving.signal,
      current: (): JointRows => {
        const members = [...joint.members];
        return { indices: [0], texts: members.flatMap(({ call }) => call.texts), members };
      },
      pausing: (error) => {
        joint.failure = error;
        this.release(joint);
      },
      resuming: () => this.place(joint),
      request: (rows, timeoutS) => textRequest(rows.texts, { fingerprint, priority: this.priority, timeoutS }),
      collect: (rows, response, address) => {
        joint.answered = true;
        const { members, texts } = rows as JointRows;
        deliver(members, readSentenceEmbedding(response, texts.length, dimension, { finite: false }), address);
      },
    });
    try {
      await dispatcher.run([{ indices: [0], texts: [] }]);
    } catch (error) {
      if (!joint.answered && joint.size > 1 && mayBeOnesFault(error)) this.dissolve(joint);
      else joint.fail(error, error === deadline.error);
    } finally {
      this.joints.delete(joint);
      this.release(joint);
      this.gatherSoon();
    }
  }

  /** Retries the calls of a request, each in a separate request, before all others. */
  private dissolve(joint: Joint): void {
    const members = [...joint.members];
    joint.members.clear();
    for (const member of members) {
      member.alone = true;
      member.joint = undefined;
    }
    this.waiting.unshift(...members);
  }

  private left(member: Member): void {
    if (member.joint === undefined) this.waiting = this.waiting.filter((each) => each !== member);
    else member.joint.leave(member);
  }

  private release(joint: Joint): void {
    if (!joint.inFlight) return;
    joint.inFlight = false;
    this.inFlight -= 1;
    // A retry precedes the waiting calls.
    for (const wake of this.pausing) wake();
    this.gatherSoon();
  }

  /** A place for a retry. */
  private async place(joint: Joint): Promise<void> {
    const { signal } = joint.leaving;
    while (this.inFlight >= this.window.limit && !signal.aborted) {
      let wake = (): void => undefined;
      const woken = new Promise<void>((resolve) => (wake = resolve));
      this.pausing.add(wake);
      signal.addEventListener("abort", wake, { once: true });
      await woken;
      this.pausing.delete(wake);
      signal.removeEventListener("abort", wake);
    }
    joint.failure = undefined;
    joint.inFlight = true;
    this.inFlight += 1;
  }
}

/** Gives the remaining calls their rows. */
function deliver(members: readonly Member[], rows: Float32Array[], address: string): void {
  let start = 0;
  for (const member of members) {
    const own = rows.slice(start, (start += member.call.texts.length));
    try {
      checkFinite(own);
      // A copy, since the rows of an answer share one buffer.
      member.answer(own.map((row) => row.slice()));
    } catch (error) {
      member.fail(new ServerError(`wrong answer from ${address}: ${(error as Error).message}`, { cause: error }));
    }
  }
}

/** Whether one of several calls in a request may have caused its error. */
function mayBeOnesFault(error: unknown): boolean {
  return (error instanceof InvalidInput && !(error instanceof ContractMismatch)) || error instanceof ServerError;
}
