// Reads [[message name, base64]] from standard input, decodes each with the Node client's generated code, and writes
// the list with the messages encoded anew.

import * as messages from "../../client/node/dist/esm/generated/inference/inference.js";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const given = JSON.parse(Buffer.concat(chunks).toString());
const again = given.map(([name, base64]) => {
  const message = messages[name].decode(Buffer.from(base64, "base64"));
  return [name, Buffer.from(messages[name].encode(message).finish()).toString("base64")];
});
process.stdout.write(JSON.stringify(again));
