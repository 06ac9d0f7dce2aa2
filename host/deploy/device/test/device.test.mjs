// The outbox with a stream that is made up: order, patience, bounds. The real way to a stream is tested end to end.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Device } from "../device.mjs";

const text = (data) => new TextDecoder().decode(data);

/** A stream that answers as the script says, one entry an attempt, then takes everything. */
function stream(script = []) {
  const taken = [];
  const send = async (key, data) => {
    const answer = script.shift();
    if (answer) throw answer;
    taken.push([key, text(data)]);
  };
  return { taken, send };
}

test("events leave in order, one a record, under the device's key", async () => {
  const { taken, send } = stream();
  const device = new Device({ id: "d-1", send });
  for (let n = 0; n < 3; n++) device.add({ n });
  await device.idle();
  assert.deepEqual(taken, [["d-1", '{"n":0}'], ["d-1", '{"n":1}'], ["d-1", '{"n":2}']]);
  assert.equal(device.waiting, 0);
});

test("a failure is tried again after a pause that doubles, is drawn by lot and has an end", async () => {
  const pauses = [];
  const { taken, send } = stream(Array.from({ length: 12 }, () => new Error("no network")));
  const lots = [1, 0.5, 0];
  const random = () => lots[pauses.length % 3];
  const device = new Device({ id: "d", send, random, sleep: async (ms) => void pauses.push(ms) });
  device.add({ n: 1 });
  await device.idle();
  assert.deepEqual(pauses, [1_000, 1_000, 0, 8_000, 8_000, 0, 64_000, 64_000, 0, 300_000, 150_000, 0]);
  assert.equal(taken.length, 1);
});

test("what was gathered without a network goes as lines of few records", async () => {
  const { taken, send } = stream([new Error("offline")]);
  let back;
  const device = new Device({ id: "d", send, recordEvents: 4, sleep: () => new Promise((resolve) => (back = resolve)) });
  for (let n = 0; n < 9; n++) device.add({ n });
  while (!back) await new Promise(setImmediate);
  back();
  await device.idle();
  assert.deepEqual(taken.map(([, data]) => data.split("\n").length), [4, 4, 1]);
  const sent = taken.flatMap(([, data]) => data.split("\n").map((line) => JSON.parse(line).n));
  assert.deepEqual(sent, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

test("a record stays within a unit of cost, unless one event alone is larger", async () => {
  const { taken, send } = stream();
  const device = new Device({ id: "d", send, recordEvents: 100 });
  for (const size of [10_000, 10_000, 10_000, 40_000, 10]) device.add("x".repeat(size));
  await device.idle();
  // The first leaves at once, before there is a second.
  assert.deepEqual(taken.map(([, data]) => data.split("\n").length), [1, 2, 1, 1]);
});

test("a full queue loses its oldest and says so, but never what is on its way", async () => {
  const lost = [];
  const taken = [];
  let answer;
  const send = (_, data) => new Promise((resolve) => (answer = () => (taken.push(text(data)), resolve())));
  const device = new Device({ id: "d", send, queueMax: 3, onLost: (lines, why) => lost.push([lines, why]) });
  for (let n = 0; n < 5; n++) device.add({ n });
  assert.deepEqual(lost, [[['{"n":1}'], "the queue is full"], [['{"n":2}'], "the queue is full"]]);
  while (device.waiting > 0) {
    answer();
    await new Promise(setImmediate);
  }
  assert.deepEqual(taken, ['{"n":0}', '{"n":3}', '{"n":4}']);
});

test("a record that can never be taken holds nobody up", async () => {
  const lost = [];
  const never = Object.assign(new Error("ValidationException"), { never: true });
  const { taken, send } = stream([never]);
  const device = new Device({ id: "d", send, onLost: (lines, why) => lost.push([lines, why]) });
  device.add({ n: 0 });
  device.add({ n: 1 });
  await device.idle();
  assert.deepEqual([lost, taken], [[[['{"n":0}'], "Error: ValidationException"]], [["d", '{"n":1}']]]);
});

test("what waits outlives the device, and waking it ends the pause", async () => {
  let kept = [];
  const store = { load: () => [...kept], save: (lines) => (kept = [...lines]) };
  const first = new Device({ id: "d", store, send: () => Promise.reject(new Error("offline")), random: () => 1 });
  first.add({ n: 0 });
  first.add({ n: 1 });
  await first.close();
  assert.deepEqual(kept, ['{"n":0}', '{"n":1}']);

  const { taken, send } = stream([new Error("offline")]);
  let paused;
  const second = new Device({ id: "d", store, send, random: () => 1, onPause: () => (paused = true) });
  second.add({ n: 2 });
  while (!paused) await new Promise(setImmediate);
  second.wake();
  await second.idle();
  assert.deepEqual(taken.map(([, data]) => data), ['{"n":0}', '{"n":1}', '{"n":2}']);
  assert.deepEqual(kept, []);
});

test("an id that cannot be a partition key is refused", () => {
  for (const id of ["", "x".repeat(257), 7, undefined]) {
    assert.throws(() => new Device({ id, send: async () => {} }), /an id of 1 to 256 characters/);
  }
});
