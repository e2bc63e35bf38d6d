// A gRPC server in front of the real one. It can refuse, count and encrypt requests.

import { Server, ServerCredentials } from "@grpc/grpc-js";

import { Connection } from "../dist/esm/connection.js";
import { GRPCInferenceServiceService } from "../dist/esm/generated/inference/inference.js";
import { resolveSettings } from "../dist/esm/settings.js";

/**
 * Passes ModelInfer on to the server at `url`, unless `refuse(number)`, called with 0 for the first request of
 * `embed_text`, gives an error {code, details}. `requests` has the metadata of each such request.
 */
export async function openGateway(url, options = {}) {
  const { refuse = () => undefined, credentials = ServerCredentials.createInsecure() } = options;
  const upstream = new Connection(url, resolveSettings(url, {}));
  const requests = [];
  const server = new Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
  server.addService(GRPCInferenceServiceService, {
    modelInfer({ request, metadata }, respond) {
      let refusal;
      if (request.modelName === "embed_text") {
        refusal = refuse(requests.length);
        requests.push(metadata);
      }
      if (refusal) respond(refusal);
      else upstream.infer(request, 30).then((answer) => respond(null, answer), (error) => respond(error.cause));
    },
  });
  const port = await new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const close = () => {
    server.forceShutdown();
    upstream.close();
  };
  return { address: `localhost:${port}`, requests, close };
}
