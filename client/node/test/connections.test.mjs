// Connections that take long, or that a proxy does not give.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, mock, test } from "node:test";

import { Connection } from "../dist/esm/connection.js";
import { LEAST_S } from "../dist/esm/deadline.js";
import { assetRequest } from "../dist/esm/protocol.js";
import { resolveSettings } from "../dist/esm/settings.js";
import { open, small } from "./fixtures.mjs";

test("no request is sent whose connection took its time", async () => {
  const server = await small();
  const connection = new Connection(server.address, resolveSettings(server.address, {}));
  after(() => connection.close());
  const answer = connection.infer(assetRequest("manifest.json"), 60);
  const { now } = Date; // which gRPC reads, too; no connection is open yet
  mock.method(Date, "now", () => now() + 60_000 - 1000 * LEAST_S + 1);
  try {
    const message = `${server.address} did not answer in time: connecting took too long`;
    await assert.rejects(answer, { name: "DeadlineExceeded", message });
  } finally {
    mock.restoreAll();
  }
  assert.equal(server.asked, 0);
  await connection.asset("manifest.json", 60);
  assert.equal(server.asked, 1);
});

for (const refuses of [true, false]) {
  test(`the error names a proxy that ${refuses ? "refuses the address" : "does not run"}`, async () => {
    const proxy = createServer();
    proxy.on("connect", (_request, socket) => socket.end("HTTP/1.1 403 Forbidden\r\n\r\n"));
    await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    const { port } = proxy.address();
    if (refuses) after(() => proxy.close());
    else await new Promise((resolve) => proxy.close(resolve));
    process.env.http_proxy = `http://127.0.0.1:${port}`;
    after(() => delete process.env.http_proxy);
    await assert.rejects(open("192.0.2.1:8001").info(), {
      name: "ServerUnavailable",
      message:
        "no answer from 192.0.2.1:8001: the proxy in $http_proxy gives no connection to it; check the proxy, or add the " +
        "server's host to $no_proxy",
    });
  });
}
