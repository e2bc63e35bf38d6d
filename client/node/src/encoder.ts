/** `SentenceEncoder`: sentence-transformers' `encode`, computed by a server. */

import { asTexts, checkNames, checkUnicode, positive, wholeNumber } from "./arguments.js";
import { Connection } from "./connection.js";
import { Deadline, now } from "./deadline.js";
import { Dispatcher } from "./dispatch.js";
import { Endpoint, Endpoints, Inquiry } from "./endpoints.js";
import { closedError, ContractMismatch, InvalidInput, ServerError } from "./errors.js";
import { readGolden } from "./golden.js";
import { Joiner } from "./joining.js";
import { isSmall } from "./joint.js";
import { type Manifest, readManifest } from "./manifest.js";
import { RetryBudget, Window } from "./pacing.js";
import { readSentenceEmbedding, textRequest } from "./protocol.js";
import { planRequests } from "./requests.js";
import { type ClientOptions, type ClientSettings, resolveSettings } from "./settings.js";
import { cosine, scoreMatrix } from "./similarity.js";

type Sentences = string | readonly string[];

const MODEL_CHANGES_A_CALL = 3; // servers that keep different models are no roll-out
const DOCUMENT_PROMPTS = ["document", "passage", "corpus"];

/** The options of one call of `encode`. */
export interface EncodeOptions {
  /** A named prompt of the model, put before every sentence. */
  promptName?: string | undefined;
  /** A text as prompt. It overrides `promptName`. */
  prompt?: string | undefined;
  /** The largest number of rows of one request. Default: the server's limit. */
  batchSize?: number | undefined;
  /** Scale every vector to length 1, after `truncateDim`. */
  normalizeEmbeddings?: boolean | undefined;
  /** Keep only the first dimensions. */
  truncateDim?: number | undefined;
  /** The deadline of this call in seconds. Default: the encoder's. */
  timeoutS?: number | undefined;
  /** Aborting it cancels the call, on the server too. */
  signal?: AbortSignal | undefined;
}

const ENCODE_OPTIONS: Record<keyof EncodeOptions, true> = {
  promptName: true,
  prompt: true,
  batchSize: true,
  normalizeEmbeddings: true,
  truncateDim: true,
  timeoutS: true,
  signal: true,
};

/** A passed canary: the served model and the smallest cosine to its golden vectors. */
export interface HealthReport {
  manifest: Manifest;
  minCosine: number;
}

/**
 * Embeds sentences through a Sentriton server. `url` is host:port, several separated by commas, or dns:///host:port;
 * left out, it is `$SENTRITON_URL` or localhost:8001. The model's manifest comes from the server with the first call.
 *
 * ```ts
 * const encoder = new SentenceEncoder("localhost:8001");
 * const embeddings = await encoder.encode(["A first sentence.", "And a second one."]);
 * encoder.close();
 * ```
 */
export class SentenceEncoder {
  private readonly settings: ClientSettings;
  private readonly endpoints: Endpoints;
  private readonly budget = new RetryBudget();
  private readonly joiner: Joiner;
  private window: Window;
  private reading: Promise<Manifest> | undefined;
  private closed = false;

  /** Throws `InvalidInput` for an invalid option. */
  constructor(url?: string, options: ClientOptions = {}) {
    this.settings = resolveSettings(url, options);
    this.window = new Window(this.settings.maxInFlight);
    const connections = this.settings.addresses.map((address) => new Connection(address, this.settings));
    this.endpoints = new Endpoints(connections.map((connection) => new Endpoint(connection)));
    this.joiner = new Joiner(this.endpoints, this.budget, this.settings.priority, this.settings.maxInFlight);
  }

  /** The address or addresses of the server. */
  get url(): string {
    return this.settings.url;
  }

  /**
   * Embed sentences: a row of `dimension` floats for each, in order, or one row for a single string. Rejects with
   * `InvalidInput` before the first request, and with the other `SentritonError`s.
   */
  encode(sentence: string, options?: EncodeOptions): Promise<Float32Array>;
  encode(sentences: readonly string[], options?: EncodeOptions): Promise<Float32Array[]>;
  async encode(sentences: Sentences, options: EncodeOptions = {}): Promise<Float32Array | Float32Array[]> {
    return this.encodeUntil(this.deadline(options), sentences, options);
  }

  private async encodeUntil(
    deadline: Deadline,
    sentences: Sentences,
    options: EncodeOptions,
  ): Promise<Float32Array | Float32Array[]> {
    const { texts, single } = asTexts(sentences);
    options.signal?.throwIfAborted();
    for (let changes = 1; ; changes++) {
      const reading = this.infoFor(deadline);
      try {
        const manifest = await this.within(reading, deadline, options.signal);
        const embeddings = await this.encodeWith(manifest, texts, options, deadline);
        return single ? embeddings[0]! : embeddings;
      } catch (error) {
        const again = error instanceof ContractMismatch && this.settings.onModelChange === "reload";
        if (!again || changes > MODEL_CHANGES_A_CALL) throw error;
        // The next loop reads the served model, unless another call did.
        if (this.reading === reading) this.reading = undefined;
      }
    }
  }

  private async encodeWith(
    manifest: Manifest,
    texts: readonly string[],
    options: EncodeOptions,
    deadline: Deadline,
  ): Promise<Float32Array[]> {
    const prompt = resolvePrompt(manifest, options);
    const most = manifest.maxBatchSize;
    const maxRows = Math.min(wholeNumber("batchSize", options.batchSize ?? most), most);
    const dimension = wholeNumber("truncateDim", options.truncateDim ?? manifest.dimension, manifest.dimension);
    const shape = (row: Float32Array): Float32Array => shaped(row, dimension, options.normalizeEmbeddings ?? false);
    const { fingerprint, maxSeqLength } = manifest;
    const { priority } = this.settings;

    const own = { texts: texts.map((text) => prompt + text), manifest, maxRows, deadline, signal: options.signal };
    if (isSmall(own)) return (await this.joiner.embed(own)).map(shape);
    const embeddings = new Array<Float32Array>(texts.length);
    const window = this.window.anew();
    const dispatcher = new Dispatcher({
      endpoints: this.endpoints,
      window,
      budget: this.budget,
      deadline,
      total: texts.length,
      signal: options.signal,
      request: (rows, timeoutS) => textRequest(rows.texts, { fingerprint, priority, timeoutS }),
      collect: (rows, response) => {
        const answer = readSentenceEmbedding(response, rows.indices.length, manifest.dimension);
        rows.indices.forEach((index, place) => {
          embeddings[index] = shape(answer[place]!);
        });
      },
    });
    try {
      await dispatcher.run(planRequests(texts, { maxRows, maxSeqLength, prompt }));
    } catch (error) {
      throw this.closed ? closedError(error) : error;
    } finally {
      this.window = window;
    }
    return embeddings;
  }

  /** `encode` with the model's "query" prompt, unless another is given. */
  encodeQuery(sentence: string, options?: EncodeOptions): Promise<Float32Array>;
  encodeQuery(sentences: readonly string[], options?: EncodeOptions): Promise<Float32Array[]>;
  async encodeQuery(sentences: Sentences, options: EncodeOptions = {}): Promise<Float32Array | Float32Array[]> {
    return this.encodeWithPrompt(["query"], sentences, options);
  }

  /** `encode` with the model's "document", "passage" or "corpus" prompt, unless another is given. */
  encodeDocument(sentence: string, options?: EncodeOptions): Promise<Float32Array>;
  encodeDocument(sentences: readonly string[], options?: EncodeOptions): Promise<Float32Array[]>;
  async encodeDocument(sentences: Sentences, options: EncodeOptions = {}): Promise<Float32Array | Float32Array[]> {
    return this.encodeWithPrompt(DOCUMENT_PROMPTS, sentences, options);
  }

  /**
   * Score every row of the first against every row of the second by the model's similarity function: [n, d] and [m, d]
   * to [n, m]. Higher is more similar. Rejects with `InvalidInput` if d differs.
   */
  async similarity(first: readonly ArrayLike<number>[], second: readonly ArrayLike<number>[]): Promise<Float32Array[]> {
    const { similarity } = await this.info();
    return scoreMatrix(similarity, first, second);
  }

  /** The served model, from the first server that answers; read once. */
  info(): Promise<Manifest> {
    if (this.closed) return Promise.reject(closedError());
    // A failure is not cached, so the next call reads the manifest again.
    this.reading ??= this.readInfo().catch((error: unknown) => {
      this.reading = undefined;
      throw error;
    });
    return this.reading;
  }

  /**
   * Embed the server's golden sentences and compare with the vectors of sentence-transformers. Rejects with a
   * `SentritonError` if the server does not answer, or its vectors differ by more than the precision allows.
   */
  async health(timeoutS = 10): Promise<HealthReport> {
    const wholeS = positive("timeoutS", timeoutS);
    if (this.closed) throw closedError();
    const deadline = new Deadline(wholeS, wholeS, now());
    const { connection } = this.endpoints.all[0]!;
    const left = (): number => {
      const leftS = deadline.leftS(now());
      if (leftS === 0) throw deadline.exceeded(connection.address);
      return leftS;
    };
    const manifest = await readAssetOf(connection, "manifest.json", left(), readManifest);
    const { dimension, fingerprint } = manifest;
    const golden = await readAssetOf(connection, "golden.json", left(), (text) => readGolden(text, dimension));
    const leftS = left();
    const parameters = { fingerprint, priority: "query" as const, timeoutS: leftS };
    const response = await connection.infer(textRequest(golden.sentences, parameters), leftS);
    const embeddings = readSentenceEmbedding(response, golden.sentences.length, dimension);
    const minCosine = Math.min(...embeddings.map((row, place) => cosine(row, golden.embeddings[place]!)));
    // 1e-6 is the noise of float32.
    if (!(minCosine >= manifest.minCosine - 1e-6)) {
      throw new ServerError(
        `the canary failed at ${connection.address}: the smallest cosine to the golden vectors is ` +
          `${minCosine.toFixed(6)}, ${manifest.precision} must reach ${manifest.minCosine}`,
      );
    }
    return { manifest, minCosine };
  }

  /** Close the connections. Calls in flight fail. */
  close(): void {
    this.closed = true;
    // First the connections, so that calls that end now cancel no request.
    for (const endpoint of this.endpoints.all) endpoint.connection.close();
    this.joiner.close(closedError);
  }

  private deadline(options: EncodeOptions): Deadline {
    checkNames("encode", options, ENCODE_OPTIONS);
    const { timeoutS } = options;
    const wholeS = timeoutS === undefined ? this.settings.timeoutS : positive("timeoutS", timeoutS);
    return new Deadline(wholeS, this.settings.stallTimeoutS, now());
  }

  private async readInfo(): Promise<Manifest> {
    const inquiry = new Inquiry(this.endpoints, this.deadline({}));
    for (let turn = inquiry.turn(now()); turn !== undefined; turn = inquiry.turn(now())) {
      try {
        return await readAssetOf(turn.endpoint.connection, "manifest.json", turn.timeS, readManifest);
      } catch (error) {
        inquiry.failed(error, now());
      }
    }
    throw this.closed ? closedError(inquiry.failure) : inquiry.failure;
  }

  /** The manifest for a call. A call without time does not ask for it. */
  private infoFor(deadline: Deadline): Promise<Manifest> {
    if (this.reading === undefined && deadline.leftS(now()) === 0) throw deadline.exceeded(this.url);
    return this.info();
  }

  /** The result of `reading`, unless the call times out or is aborted before. Other calls continue to wait. */
  private async within<T>(reading: Promise<T>, deadline: Deadline, signal: AbortSignal | undefined): Promise<T> {
    const leftS = Math.max(0, deadline.end - now());
    let timer: NodeJS.Timeout | undefined;
    let abort: (() => void) | undefined;
    const ending = new Promise<never>((_, reject) => {
      // Reading ends sooner than a day.
      if (leftS < 86_400) timer = setTimeout(() => reject(deadline.exceeded(this.url)), 1000 * leftS);
      abort = () => reject(signal!.reason as Error);
      signal?.addEventListener("abort", abort);
      if (signal?.aborted) abort();
    });
    try {
      const value = await Promise.race([reading, ending]);
      deadline.moved(now());
      return value;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort!);
    }
  }

  /** `encode` with the first of these prompts that the model has, unless another is given. */
  private async encodeWithPrompt(
    names: readonly string[],
    sentences: Sentences,
    options: EncodeOptions,
  ): Promise<Float32Array | Float32Array[]> {
    const deadline = this.deadline(options);
    if (options.promptName !== undefined || options.prompt !== undefined) {
      return this.encodeUntil(deadline, sentences, options);
    }
    options.signal?.throwIfAborted();
    const { prompts } = await this.within(this.infoFor(deadline), deadline, options.signal);
    const promptName = names.find((name) => Object.hasOwn(prompts, name));
    return this.encodeUntil(deadline, sentences, { ...options, promptName });
  }
}

/** Fetch an asset and read it. Throws a `ServerError` that names server and file if it cannot be read. */
async function readAssetOf<T>(
  connection: Connection,
  name: string,
  timeoutS: number,
  read: (text: string) => T,
): Promise<T> {
  const content = await connection.asset(name, timeoutS);
  try {
    return read(content);
  } catch (error) {
    const reason = (error as Error).message;
    throw new ServerError(`${connection.address} sent a ${name} that this client cannot read: ${reason}`, {
      cause: error,
    });
  }
}

function resolvePrompt(manifest: Manifest, { prompt, promptName }: EncodeOptions): string {
  const text = prompt ?? namedPrompt(manifest, promptName ?? manifest.defaultPromptName);
  if (typeof text !== "string") throw new InvalidInput(`prompt is ${String(text)}; give a string`);
  checkUnicode("prompt", text);
  if (text !== "" && !manifest.includePrompt) {
    throw new InvalidInput(
      `prompt is ${JSON.stringify(text)}; this model leaves prompts out of pooling, which only the Python client ` +
        'supports; allowed is ""',
    );
  }
  return text;
}

function namedPrompt({ prompts }: Manifest, name: string | null): string {
  if (name === null) return "";
  const text = Object.hasOwn(prompts, name) ? prompts[name] : undefined;
  if (text !== undefined) return text;
  const known = Object.keys(prompts).map((key) => JSON.stringify(key)).join(", ") || "none";
  throw new InvalidInput(`promptName is ${JSON.stringify(name)}; the model's prompts are ${known}`);
}

function shaped(embedding: Float32Array, dimension: number, normalize: boolean): Float32Array {
  const kept = embedding.subarray(0, dimension);
  if (!normalize) return kept;
  const length = Math.max(Math.hypot(...kept), 1e-12);
  return kept.map((value) => value / length);
}
