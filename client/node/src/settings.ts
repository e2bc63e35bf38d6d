/** The settings of a client: option, environment variable and default. Only this file has the defaults. */

import { readFileSync } from "node:fs";
import { homedir } from "node:os";

import { checkNames, positive, wholeNumber } from "./arguments.js";
import { InvalidInput } from "./errors.js";

/** The server's lanes for callers. */
export type Priority = "query" | "bulk";

/** The reaction of a call to another model on the server. */
export type OnModelChange = "raise" | "reload";

/** The settings of an encoder. An omitted setting comes from `$SENTRITON_...`, such as `$SENTRITON_TIMEOUT_S`. */
export interface ClientOptions {
  /** Seconds for a whole call, retries included. Default: no bound. */
  timeoutS?: number | undefined;
  /** The call fails if none of its requests is answered for this many seconds. Default 60. */
  stallTimeoutS?: number | undefined;
  /** The server's lane: "query" (default), or "bulk", which waits behind. */
  priority?: Priority | undefined;
  /** The largest number of requests of one call in flight. Default 16. */
  maxInFlight?: number | undefined;
  /**
   * "raise" (default): reject with `ContractMismatch`. "reload": read the manifest again and restart the call with that
   * model.
   */
  onModelChange?: OnModelChange | undefined;
  /** Encrypt with TLS. Certificates turn it on as well. */
  tls?: boolean | undefined;
  /** PEM file of the certificates to trust. */
  rootCertificates?: string | undefined;
  /** PEM file of the client's certificate, for mutual TLS. It needs `clientKey`. */
  clientCertificate?: string | undefined;
  /** PEM file of the client certificate's key. */
  clientKey?: string | undefined;
  /** The name in the server's certificate, if it differs from the address. */
  serverName?: string | undefined;
  /** Sent as the header that Triton's `--grpc-restricted-protocol=...:access-key=<value>` asks for. */
  accessKey?: string | undefined;
}

/** The checked settings. */
export interface ClientSettings {
  readonly url: string;
  /** The addresses in `url`, each with a channel. */
  readonly addresses: readonly string[];
  readonly timeoutS: number | undefined;
  readonly stallTimeoutS: number;
  readonly priority: Priority;
  readonly maxInFlight: number;
  readonly onModelChange: OnModelChange;
  readonly tls: boolean;
  readonly rootCertificates: string | undefined;
  readonly clientCertificate: string | undefined;
  readonly clientKey: string | undefined;
  readonly serverName: string | undefined;
  readonly accessKey: string | undefined;
}

const OPTIONS: Record<keyof ClientOptions, true> = {
  timeoutS: true,
  stallTimeoutS: true,
  priority: true,
  maxInFlight: true,
  onModelChange: true,
  tls: true,
  rootCertificates: true,
  clientCertificate: true,
  clientKey: true,
  serverName: true,
  accessKey: true,
};
const PRIORITIES: readonly Priority[] = ["query", "bulk"];
const CHANGES: readonly OnModelChange[] = ["raise", "reload"];

/** Settings from the arguments, then the environment, then the defaults. Throws `InvalidInput`. */
export function resolveSettings(url: string | undefined, options: ClientOptions): ClientSettings {
  checkNames("SentenceEncoder", options, OPTIONS);
  const target = url ?? variable("URL") ?? "localhost:8001";
  const rootCertificates = path(options.rootCertificates ?? variable("ROOT_CERTIFICATES"));
  const clientCertificate = path(options.clientCertificate ?? variable("CLIENT_CERTIFICATE"));
  const clientKey = path(options.clientKey ?? variable("CLIENT_KEY"));
  if ((clientCertificate === undefined) !== (clientKey === undefined)) {
    throw new InvalidInput("clientCertificate and clientKey must be set together; one of them is missing");
  }
  const accessKey = options.accessKey ?? variable("ACCESS_KEY");
  if (accessKey !== undefined && !/^[!-~]([ -~]*[!-~])?$/.test(accessKey)) {
    // The message must not show the secret.
    throw new InvalidInput(
      "accessKey cannot be sent; allowed are printable ASCII characters, without spaces or line ends around them",
    );
  }
  const tls = options.tls ?? booleanVariable("TLS") ?? false;
  const timeoutS = options.timeoutS ?? numberVariable("TIMEOUT_S");
  return {
    url: target,
    addresses: readAddresses(target),
    timeoutS: timeoutS === undefined ? undefined : positive("timeoutS", timeoutS),
    stallTimeoutS: positive("stallTimeoutS", options.stallTimeoutS ?? numberVariable("STALL_TIMEOUT_S") ?? 60),
    priority: oneOf("priority", options.priority ?? variable("PRIORITY") ?? "query", PRIORITIES),
    maxInFlight: wholeNumber("maxInFlight", options.maxInFlight ?? numberVariable("MAX_IN_FLIGHT") ?? 16),
    onModelChange: oneOf("onModelChange", options.onModelChange ?? variable("ON_MODEL_CHANGE") ?? "raise", CHANGES),
    tls: tls || rootCertificates !== undefined || clientCertificate !== undefined,
    rootCertificates,
    clientCertificate,
    clientKey,
    serverName: options.serverName ?? variable("SERVER_NAME"),
    accessKey,
  };
}

/** The content of a PEM file, null if unset. Throws `InvalidInput` that names the file. */
export function readPem(path: string | undefined): Buffer | null {
  if (path === undefined) return null;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new InvalidInput(`cannot read certificate file ${path}: ${(error as Error).message}`, { cause: error });
  }
}

function readAddresses(url: string): string[] {
  const addresses = String(url)
    .split(",")
    .map((address) => address.trim());
  if (!addresses.every(isAddress)) {
    const given = JSON.stringify(url);
    throw new InvalidInput(`url is ${given}; give host:port, several separated by commas, or dns:///host:port`);
  }
  return addresses;
}

function isAddress(address: string): boolean {
  const match = /^(?:dns:\/\/[^\s/]*\/)?(?:[^\s:/[\]]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})$/.exec(address);
  const port = Number(match?.[1]);
  return port >= 1 && port <= 65535;
}

function oneOf<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === value);
  if (found !== undefined) return found;
  throw new InvalidInput(`${name} is ${JSON.stringify(value)}; allowed are ${allowed.join(", ")}`);
}

function variable(name: string): string | undefined {
  return process.env[`SENTRITON_${name}`] || undefined;
}

/** A path with the home folder in place of `~` at its beginning. */
function path(given: string | undefined): string | undefined {
  return given?.replace(/^~(?=\/|$)/, homedir);
}

function numberVariable(name: string): number | undefined {
  const text = variable(name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isNaN(value)) throw new InvalidInput(`$SENTRITON_${name} is ${JSON.stringify(text)}; it must be a number`);
  return value;
}

function booleanVariable(name: string): boolean | undefined {
  const text = variable(name)?.toLowerCase();
  if (text === undefined) return undefined;
  if (["1", "true", "yes", "on"].includes(text)) return true;
  if (["0", "false", "no", "off"].includes(text)) return false;
  throw new InvalidInput(`$SENTRITON_${name} is ${JSON.stringify(text)}; allowed are 1, true, yes, on, 0, false, no, off`);
}
