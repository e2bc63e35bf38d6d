/** A request that several small calls share: its members and their deadline. */

import { Deadline, LOOK_EVERY_S, now } from "./deadline.js";
import { type DeadlineExceeded, ownError, progressWords, SentritonError } from "./errors.js";
import type { Manifest } from "./manifest.js";
import { added, fits, type Size, sizeOf } from "./requests.js";

/** The largest number of sentences of a joining call. Larger calls fill requests by themselves. */
export const SMALL = 8;
const BYTES_PER_JOINED_REQUEST = 1 << 14; // of UTF-8: the server treats more text as bulk work, and queries would wait
const TIMES_APART = 2; // largest factor between remaining times, to compute little for callers that have left

/** The rows of a small call. `texts` include the prompt. */
export interface SmallCall {
  readonly texts: readonly string[];
  readonly manifest: Manifest;
  readonly maxRows: number;
  readonly deadline: Deadline;
  readonly signal: AbortSignal | undefined;
}

/** Whether a call may share requests. */
export function isSmall({ texts, manifest, maxRows }: SmallCall): boolean {
  const few = texts.length > 0 && texts.length <= Math.min(SMALL, maxRows - 1);
  return few && fits(sizeOf(texts, manifest.maxSeqLength), BYTES_PER_JOINED_REQUEST);
}

/** A small call that waits for its rows until its deadline or an abort by its signal. */
export class Member {
  readonly embeddings: Promise<Float32Array[]>;
  readonly size: Size;
  joint: Joint | undefined;
  alone = false; // it may have caused the failure of a joined request
  private resolve!: (rows: Float32Array[]) => void;
  private reject!: (error: unknown) => void;
  private timer: NodeJS.Timeout | undefined;
  private readonly abort = (): void => this.fail(this.call.signal!.reason);

  constructor(
    readonly call: SmallCall,
    private readonly url: string,
    private readonly leave: (member: Member) => void,
  ) {
    this.size = sizeOf(call.texts, call.manifest.maxSeqLength);
    this.embeddings = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
  }

  /** Starts to wait. */
  begin(): void {
    this.call.signal?.addEventListener("abort", this.abort);
    if (this.call.signal?.aborted) this.abort();
    else this.look();
  }

  /** Takes its rows. */
  answer(rows: Float32Array[]): void {
    this.end();
    this.resolve(rows);
  }

  /** Fails with a separate error, or with the caller's own. */
  fail(error: unknown): void {
    this.end();
    const words = progressWords(0, this.call.texts.length);
    this.reject(error instanceof SentritonError ? ownError(error, words) : error);
  }

  /** It timed out. */
  exceed(): void {
    this.fail(this.joint?.failure ?? this.call.deadline.exceeded(this.url));
  }

  /** Whether it may share a request with `first`. */
  joins({ alone, call }: Member, time: number): boolean {
    const { manifest, maxRows, deadline } = this.call;
    if (this.alone || alone || manifest !== call.manifest || maxRows !== call.maxRows) return false;
    const [own, other] = [deadline.time - time, call.deadline.time - time];
    return own > 0 && own <= TIMES_APART * other && other <= TIMES_APART * own;
  }

  private look(): void {
    const { deadline } = this.call;
    deadline.looked(now());
    if (deadline.over(now())) {
      this.exceed();
      return;
    }
    const waitS = Math.min(LOOK_EVERY_S, Math.max(0, deadline.time - now()));
    this.timer = setTimeout(() => this.look(), Math.ceil(1000 * waitS));
  }

  private end(): void {
    clearTimeout(this.timer);
    this.call.signal?.removeEventListener("abort", this.abort);
    this.leave(this);
  }
}

/** A request and its members. `inFlight`: it has one of the encoder's places. `failure`: it waits for a retry. */
export class Joint {
  readonly members = new Set<Member>();
  readonly leaving = new AbortController(); // once no member is left
  readonly manifest: Manifest;
  inFlight = true;
  answered = false;
  failure: unknown;
  size = 0; // of its first members
  private rows = 0;
  private total: Size = { tokens: 0, bytes: 0 };

  constructor(private readonly first: Member) {
    this.manifest = first.call.manifest;
    this.add(first);
  }

  /** Adds another member if it fits. */
  take(member: Member, time: number): boolean {
    const rows = this.rows + member.call.texts.length;
    if (rows > member.call.maxRows || !member.joins(this.first, time)) return false;
    if (!fits(added(this.total, member.size), BYTES_PER_JOINED_REQUEST)) return false;
    this.add(member);
    return true;
  }

  /** Records the end of a member. The last one cancels the request. */
  leave(member: Member): void {
    member.joint = undefined;
    this.members.delete(member);
    if (this.members.size === 0 && !this.answered) this.leaving.abort();
  }

  /** Fails every member with a separate error; `late`: with that of its own deadline. */
  fail(error: unknown, late: boolean): void {
    for (const member of [...this.members]) {
      if (late) member.exceed();
      else member.fail(error);
    }
  }

  private add(member: Member): void {
    member.joint = this;
    this.members.add(member);
    this.size += 1;
    this.rows += member.call.texts.length;
    this.total = added(this.total, member.size);
  }
}

/** The deadline of a request: its members' latest. Each member watches its own. */
export class SharedDeadline extends Deadline {
  error: DeadlineExceeded | undefined; // the error of its request

  constructor(private readonly members: ReadonlySet<Member>) {
    super(undefined, 0, 0);
  }

  override get end(): number {
    return Math.max(0, ...[...this.members].map(({ call }) => call.deadline.end));
  }

  override get time(): number {
    return Math.max(0, ...[...this.members].map(({ call }) => call.deadline.time));
  }

  override moved(time: number): void {
    for (const { call } of this.members) call.deadline.moved(time);
  }

  override looked(): void {}

  override watch(): () => void {
    return () => {};
  }

  override exceeded(url: string): DeadlineExceeded {
    const [first] = this.members;
    return (this.error = first?.call.deadline.exceeded(url) ?? super.exceeded(url));
  }
}
