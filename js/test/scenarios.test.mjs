// Scenarios in a user's own test runner: judged as `plimsoll scenario` judges them.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { runScenarios } from "plimsoll";

const folder = new URL("../../tests/scenarios/", import.meta.url);
const samples = readdirSync(folder).filter((f) => f.endsWith(".json") && f !== "broken.json" && f !== "skipped.json");
const read = (name) => readFileSync(new URL(name, folder), "utf8");

for (const name of samples) {
  for (const snapshotEverywhere of [false, true]) {
    test(`${name} holds${snapshotEverywhere ? ", saved and restored between any two steps" : ""}`, async () => {
      const report = await runScenarios(read(name), { snapshotEverywhere });
      assert.deepEqual(report.scenarios.filter((s) => s.verdict !== "passed"), []);
      assert.ok(report.passed > 0 && report.passed === report.scenarios.length && report.failed + report.skipped === 0);
      assert.match(report.engine.sha256, /^[0-9a-f]{64}$/);
    });
  }
}

test("a scenario that fails says where, and one that is skipped says why", async () => {
  const broken = JSON.parse(read("broken.json"));
  const report = await runScenarios(broken);
  assert.equal(report.failed, broken.scenarios.length);
  report.scenarios.forEach((s, i) => {
    assert.equal(s.step, broken.scenarios[i].note, s.name);
    assert.ok(s.expected.length > 0 && s.got.length > 0);
  });
  const skipped = JSON.parse(read("skipped.json"));
  (await runScenarios(skipped)).scenarios.forEach((s, i) => {
    assert.equal(s.verdict, "skipped", s.name);
    assert.ok(s.reason.startsWith(skipped.scenarios[i].note), s.reason);
  });
});

test("what is no scenario file throws", async () => {
  await assert.rejects(runScenarios("{"), { code: "input", message: /plimsoll-scenario\/1/ });
  await assert.rejects(runScenarios({ format: "other" }), { code: "input", message: /other/ });
});
