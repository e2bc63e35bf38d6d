/** A channel to one server, and its calls. */

import {
  CallCredentials,
  type ChannelOptions,
  type ClientUnaryCall,
  credentials,
  Metadata,
  status,
} from "@grpc/grpc-js";

import { LEAST_S } from "./deadline.js";
import { closedError, translate } from "./errors.js";
import {
  GRPCInferenceServiceClient,
  type ModelInferRequest,
  type ModelInferResponse,
} from "./generated/inference/inference.js";
import { assetRequest, readAsset } from "./protocol.js";
import { type ClientSettings, readPem } from "./settings.js";

// Triton adds `triton-grpc-protocol-` to the name.
const ACCESS_HEADER = "triton-grpc-protocol-access-key";

const CHANNEL_OPTIONS: ChannelOptions = {
  // By default, gRPC's limit is 4 MB, 1,000 vectors of 1,024 dimensions.
  "grpc.max_send_message_length": -1,
  "grpc.max_receive_message_length": -1,
  // Each encoder has its own connections. Otherwise all channels of a process to one address share one.
  "grpc.use_local_subchannel_pool": 1,
  // Detects a connection that a firewall or a dead node has dropped, before the deadline of a call.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // Reconnects soon after an outage. By default, gRPC's back-off grows to two minutes.
  "grpc.initial_reconnect_backoff_ms": 200,
  "grpc.max_reconnect_backoff_ms": 2_000,
  // Finds moved servers soon. By default, gRPC re-resolves a name at most every 30 s.
  "grpc.dns_min_time_between_resolutions_ms": 5_000,
  // The client retries by itself, within its deadline and budget.
  "grpc.enable_retries": 0,
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
};

/**
 * The time in which requests may end by themselves when an encoder closes. A cancellation at an answer can crash Triton
 * 24.10 (issue 7368), and the manifest is usually answered in a few milliseconds.
 */
export const GRACE_MS = 100;

// gRPC would ask the proxy in $http_proxy for servers of this machine as well.
const OWN_MACHINE = /^(.*\/)?(localhost|127\.[\d.]+|0\.0\.0\.0|\[::1?\]):\d+$/;

/** An open channel to one address (host:port). Methods reject with `SentritonError`s. */
export class Connection {
  private readonly client: GRPCInferenceServiceClient;
  private readonly metadata = new Metadata();
  private readonly calls = new Map<ClientUnaryCall, (error: Error) => void>(); // in flight, and their rejections
  private closed = false;

  constructor(
    readonly address: string,
    settings: ClientSettings,
  ) {
    const security = settings.tls
      ? credentials.createSsl(
          readPem(settings.rootCertificates),
          readPem(settings.clientKey),
          readPem(settings.clientCertificate),
        )
      : credentials.createInsecure();
    const options = { ...CHANNEL_OPTIONS };
    if (OWN_MACHINE.test(address)) options["grpc.enable_http_proxy"] = 0;
    if (settings.serverName !== undefined) options["grpc.ssl_target_name_override"] = settings.serverName;
    this.client = new GRPCInferenceServiceClient(address, security, options);
    if (settings.accessKey !== undefined) this.metadata.set(ACCESS_HEADER, settings.accessKey);
  }

  /**
   * Sends one request and waits for its response. Aborting `signal` cancels the request, on the server too. If the
   * signal is already aborted, nothing is sent.
   */
  async infer(request: ModelInferRequest, timeoutS: number, signal?: AbortSignal): Promise<ModelInferResponse> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const deadline = Date.now() + timeoutS * 1000;
      const options = { deadline, credentials: lastLook(deadline) };
      const call = this.client.modelInfer(request, this.metadata, options, (error, response) => {
        signal?.removeEventListener("abort", cancel);
        this.calls.delete(call);
        if (error) reject(translate(error, this.address));
        else resolve(response);
      });
      this.calls.set(call, reject);
      const cancel = (): void => {
        if (!this.closed) call.cancel();
      };
      signal?.addEventListener("abort", cancel);
    });
  }

  /** The content of an asset such as manifest.json. */
  async asset(name: string, timeoutS: number): Promise<string> {
    return readAsset(await this.infer(assetRequest(name), timeoutS));
  }

  /** Closes the channel. Calls in flight fail at once. Their requests are cancelled after `GRACE_MS`. */
  close(): void {
    this.closed = true;
    for (const reject of this.calls.values()) reject(closedError());
    const cancel = (): void => {
      for (const call of this.calls.keys()) call.cancel();
    };
    // The process stays alive only for requests.
    setTimeout(cancel, GRACE_MS).unref();
    this.client.close();
  }
}

/**
 * Ends a request that got its connection so late that too little time is left to send it. gRPC asks for these metadata
 * once a request has a connection.
 */
function lastLook(deadline: number): CallCredentials {
  return CallCredentials.createFromMetadataGenerator((_options, give) => {
    if (deadline - Date.now() >= 1000 * LEAST_S) give(null, new Metadata());
    else give(Object.assign(new Error("connecting took too long"), { code: status.DEADLINE_EXCEEDED }));
  });
}
