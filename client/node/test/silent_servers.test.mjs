// Several servers, of which one says nothing while its connection stays up.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { MANY, open, silentFrom, small, SOON_S, timed } from "./fixtures.mjs";
import { vectors, WORDS } from "./small_server.mjs";

describe("of two servers", () => {
  async function two(changes = {}) {
    const servers = [await small({ ...changes }), await small({ ...changes })];
    return { servers, url: servers.map(({ address }) => address).join() };
  }

  test("one that falls silent is left alone until it answers again", async () => {
    const { servers, url } = await two({ delayS: 0.02 });
    const [silent] = servers;
    const encoder = open(url);
    silent.refuse = silentFrom(20, silent);
    const took = await timed(async () => {
      assert.deepEqual(await encoder.encode(WORDS, { batchSize: 8 }), vectors(WORDS));
    });
    assert.ok(took < SOON_S, String(took));
    while (silent.underWay > 0) await sleep(10);
    const asked = silent.received;
    silent.atOnce = 0;
    silent.refuse = () => undefined;
    const [least, most] = [performance.now() + 2000, performance.now() + 1000 * SOON_S];
    while (performance.now() < least || silent.received === asked) {
      assert.ok(performance.now() < most, "it is never asked again");
      assert.deepEqual(await encoder.encode(MANY, { batchSize: 8 }), vectors(MANY));
    }
    assert.equal(silent.atOnce, 1);
    assert.ok(silent.received - asked <= 6, String(silent.received - asked));
    silent.silent = false;
    const before = silent.received;
    for (const until = performance.now() + 2000 * SOON_S; silent.received < before + 20; ) {
      assert.ok(performance.now() < until, "it answers and gets nothing to do");
      await encoder.encode(MANY, { batchSize: 8 });
    }
  });

  test("one may be silent from the beginning", async () => {
    const { servers, url } = await two();
    servers[0].silent = true;
    const took = await timed(async () => assert.deepEqual(await open(url).encode(MANY), vectors(MANY)));
    assert.ok(took < SOON_S, String(took));
  });

  test("slow ones that answer do not get twice the load", async () => {
    const { servers, url } = await two({ delayS: 2.4 });
    const encoder = open(url);
    const received = () => servers.reduce((sum, server) => sum + server.received, 0);
    assert.equal((await encoder.encode(WORDS.slice(0, 32), { batchSize: 8 })).length, 32);
    const before = received();
    assert.ok(before >= 4 && before < 2 * 4, String(before));
    await encoder.encode("w1");
    assert.equal(received(), before + 1);
  });

  test("none answers: the call ends as with one", async () => {
    const { servers, url } = await two();
    const encoder = open(url, { stallTimeoutS: 3 });
    await encoder.info();
    for (const server of servers) server.silent = true;
    const took = await timed(() =>
      assert.rejects(encoder.encode(MANY), {
        name: "DeadlineExceeded",
        message: /answered no request for 3 s.*\(0 of 400 sentences were embedded\)$/,
      }),
    );
    assert.ok(took < SOON_S, String(took));
  });
});
