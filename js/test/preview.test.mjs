// The package in Node: the engine's answers against a recomputation, and every way in which it says no.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Preview, PlimsollError, engineInfo } from "plimsoll";
import { POLICY, pathOf, random, recompute, records } from "./help.mjs";

const text = (bytes) => new TextDecoder().decode(bytes);
const all = { from: 0, count: 1_000_000 };
const refused = (code, pattern) => (e) => {
  assert.ok(e instanceof PlimsollError, String(e));
  assert.equal(e.code, code, e.message);
  assert.match(e.message, pattern);
  return true;
};

async function run(data, cuts, policy = POLICY) {
  const p = await Preview.create(policy, { fileName: "p.toml", name: "data.ndjson" });
  const bytes = new TextEncoder().encode(data);
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    p.pushNdjson(bytes.subarray(from, to));
    from = to;
  }
  p.end();
  const seen = {
    rows: p.rows(all), late: p.lateRows(all), dead: p.deadLetters(all), account: p.account, progress: p.progress,
    ndjson: text(p.ndjson()), lateNdjson: text(p.lateNdjson()), counts: p.counts, lines: p.lines,
  };
  p.dispose();
  return seen;
}

test("rows, late rows and accounting equal a recomputation that shares no code", async () => {
  const data = records(20_000, 1);
  const want = recompute(data);
  const got = await run(data, []);
  assert.deepEqual(got.rows, want.main);
  assert.deepEqual(got.late, want.late);
  assert.ok(want.late.length > 50 && want.account.rejected > 100, "the data has its troubles");
  for (const [name, n] of Object.entries(want.account)) assert.equal(got.account[name], n, name);
  assert.equal(got.progress.watermark, want.watermark);
  assert.equal(got.progress.arrival, null);
  assert.equal(got.ndjson, want.main.map((r) => `${JSON.stringify(r)}\n`).join(""));
  assert.equal(got.lateNdjson, want.late.map((r) => `${JSON.stringify(r)}\n`).join(""));
  assert.equal(got.dead.length, want.account.rejected);
});

test("keys beyond a window's budget share one row, and the sums stay exact", async () => {
  const data = records(3_000, 3);
  const budget = (n) => run(data, [5_000], `${POLICY}[limits]\nkeys_per_window = ${n}\n`);
  const [two, all] = [await budget(2), await run(data, [])];
  const sums = (rows) => {
    const by = new Map();
    for (const r of rows) by.set(r.window_start, (by.get(r.window_start) ?? 0) + r.total);
    return [...by];
  };
  assert.deepEqual(sums(two.rows), sums(all.rows));
  const over = two.rows.filter((r) => r.overflow);
  assert.ok(over.length > 3 && over.every((r) => r.placement === null));
  for (const { window_start } of over) {
    assert.equal(two.rows.filter((r) => r.window_start === window_start && !r.overflow).length, 2);
  }
  assert.equal(two.account.overflow, over.reduce((n, r) => n + r.events, 0));
  assert.equal(all.account.overflow, 0);
  assert.equal(two.ndjson, two.rows.map((r) => `${JSON.stringify(r)}\n`).join(""));
});

test("the cut of the data changes nothing", async () => {
  const data = `\ufeff${records(3_000, 2)}{"ts":1700000000000,"placement":"no newline","v":1}`;
  const length = Buffer.byteLength(data);
  const whole = await run(data, []);
  assert.equal(whole.late.find((r) => r.placement === "no newline").events, 1);
  for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
    const next = random(seed);
    const cuts = Array.from({ length: 1 + Math.floor(next() * 200) }, () => Math.floor(next() * length)).sort((a, b) => a - b);
    assert.deepEqual(await run(data, cuts), whole, `seed ${seed}`);
  }
  const short = data.slice(0, 5_000);
  const every = Array.from({ length: Buffer.byteLength(short) }, (_, i) => i);
  assert.deepEqual(await run(short, every), await run(short, []), "byte by byte");
});

test("dead letters name their line, reason and bytes", async () => {
  const { dead } = await run('{"ts":1,"placement":"a","v":1}\n\nbroken\n{"placement":"a","v":1}\n', []);
  assert.deepEqual(dead.map((d) => [d.position, d.reason, text(d.raw), d.length]), [
    ["data.ndjson:3", "malformed", "broken", 6],
    ["data.ndjson:4", "missing_field", '{"placement":"a","v":1}', 23],
  ]);
  assert.ok(dead.every((d) => d.detail.length > 5 && d.arrival === null));
});

test("lines over 16 MiB are set aside by their beginning, wherever they are cut", async () => {
  const long = `{"ts":1700000000000,"placement":"a","v":1,"x":"${"y".repeat(17 << 20)}"}`;
  const data = `{"ts":1700000000000,"placement":"a","v":1}\n${long}\n{"ts":1700000000000,"placement":"a","v":2}\n`;
  for (const cuts of [[], [100], [1 << 20, 5 << 20, (16 << 20) + 7]]) {
    const { rows, dead } = await run(data, cuts);
    assert.deepEqual([rows[0].events, rows[0].total], [2, 3]);
    assert.deepEqual(dead.map((d) => [d.position, d.reason]), [["data.ndjson:2", "too_long"]]);
  }
});

test("integers stay integers beyond 2^53", async () => {
  const data = [9007199254740991n, 9223372036854775807n, 9223372036854775807n, -9223372036854775808n]
    .map((v, i) => `{"ts":1700000000000,"placement":"p${Math.min(i, 1) + (i === 3 ? 1 : 0)}","v":${v}}\n`).join("");
  const { rows, ndjson } = await run(data, []);
  assert.deepEqual(rows.map((r) => [r.placement, r.total, r.top]), [
    ["p0", 9007199254740991, 9007199254740991],
    ["p1", 18446744073709551614n, 9223372036854775807n],
    ["p2", -9223372036854775808n, -9223372036854775808n],
  ]);
  assert.match(ndjson, /"total":18446744073709551614,/);
});

test("a wrong policy names every place and the mend", async () => {
  const wrong = POLICY.replace("[window]", "[windw]").replace('"count"', '"cuont"');
  const found = await Preview.check(wrong, "p.toml");
  const windw = found.find((d) => d.message.includes("windw"));
  assert.deepEqual([windw.code, windw.line, windw.column], ["unknown_field", 7, 2]);
  assert.match(windw.hint, /window/);
  assert.equal(wrong.slice(windw.from, windw.to), "windw");
  assert.ok(found.some((d) => d.message.includes("cuont")));
  assert.deepEqual(await Preview.check(POLICY, "p.toml"), []);
  await assert.rejects(Preview.create(wrong, { fileName: "p.toml" }), (e) => {
    assert.deepEqual(e.diagnostics, found);
    return refused("policy", /p\.toml:\d+:\d+: .*more\)/)(e);
  });
  assert.match(await Preview.explain(POLICY), /in windows of 1m/);
  await assert.rejects(Preview.explain(wrong), refused("policy", /did you mean/));
});

test("without an arrival field the preview says that arrival times are unknown", async () => {
  const p = await Preview.create(POLICY);
  assert.equal(p.arrival, "unknown");
  const q = await Preview.create(POLICY.replace("key =", 'arrival = { field = "seen", unit = "ms" }\nkey ='));
  assert.deepEqual([q.arrival, q.policy.arrivalField], ["field", "seen"]);
});

test("the digest is that of the file", async () => {
  const info = await engineInfo();
  assert.equal(info.sha256, createHash("sha256").update(readFileSync(pathOf("plimsoll.wasm"))).digest("hex"));
  assert.equal(info.abi, 1);
  assert.match(info.version, /^\d+\.\d+\.\d+/);
});

test("dispose ends a preview, twice is nothing, use after it throws", async () => {
  const p = await Preview.create(POLICY);
  p.pushNdjson("{}\n");
  p.dispose();
  p.dispose();
  for (const use of [() => p.rows(), () => p.pushNdjson("{}"), () => p.account, () => p.end()]) {
    assert.throws(use, refused("disposed", /make another one/));
  }
  const q = await Preview.create(POLICY);
  q.end();
  q.end();
  assert.throws(() => q.pushNdjson("{}"), refused("disposed", /ended/));
  assert.equal(q.counts.rows, 0);
});

test("ranges page through rows", async () => {
  const p = await Preview.create(POLICY);
  p.pushNdjson(records(2_000, 3));
  p.end();
  const whole = p.rows(all);
  assert.equal(p.counts.rows, whole.length);
  assert.deepEqual([...p.rows({ from: 0, count: 7 }), ...p.rows({ from: 7, count: 1e6 })], whole);
  assert.deepEqual(p.rows({ from: whole.length }), []);
  assert.throws(() => p.rows({ from: -1 }), RangeError);
  const windows = p.windows(0);
  assert.equal(windows.reduce((n, w) => n + w.total, 0), p.account.counted);
});

test("gzip is unpacked; damage and zstd speak", async () => {
  const data = records(500, 4);
  const read = async (bytes) => {
    const p = await Preview.create(POLICY);
    await p.read(new Blob([bytes]));
    return text(p.ndjson());
  };
  const plain = await read(data);
  assert.ok(plain.length > 1_000);
  const packed = gzipSync(data);
  assert.equal(await read(packed), plain);
  await assert.rejects(read(packed.subarray(0, packed.length - 20)), refused("input", /gzip/));
  await assert.rejects(read(new Uint8Array([0x28, 0xb5, 0x2f, 0xfd, 0, 0])), refused("input", /zstd/));
  assert.equal(await read(new Uint8Array(0)), "");
});

test("a thousand previews leave the memory where it was", async () => {
  const round = async (n) => {
    for (let i = 0; i < n; i++) {
      const p = await Preview.create(POLICY);
      p.pushNdjson('{"ts":1700000000000,"placement":"a","v":1}\n');
      p.end();
      p[Symbol.dispose]();
    }
  };
  // Instances go with the garbage: collected here, so that what is left is what somebody holds.
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  const held = async () => {
    for (let i = 0; i < 3; i++) {
      collect();
      await new Promise((next) => setImmediate(next));
    }
    const { arrayBuffers, external } = process.memoryUsage();
    return arrayBuffers + external;
  };
  await round(200);
  const before = await held();
  await round(1_000);
  const after = await held();
  assert.ok(after - before < 8 << 20, `grew by ${after - before} bytes`);
});

test("panes come out as triggers say, and rows are those of a policy without", async () => {
  const panes = `${POLICY}
values = { list = { field = "v", most = 10 } }
[trigger]
when = { after_watermark = { early = { after_count = 2 } } }
accumulation = "retracting"
`;
  const text = [[0, 1], [1, 2], [2, 9007199254740993n], [700_000, 5]]
    .map(([s, v]) => `{"ts":${1_699_999_980_000 + s},"placement":"a","v":${v}}`)
    .join("\n");
  const run = async (policy) => {
    const preview = await Preview.create(policy);
    preview.pushNdjson(text);
    preview.end();
    return preview;
  };
  const preview = await run(panes.replace('by = "record"', 'by = "window"'));
  const plain = await run(POLICY.replace('by = "record"', 'by = "window"'));
  assert.equal(preview.policy.panes, true);
  assert.equal(plain.policy.panes, false);
  assert.deepEqual(plain.panes(), []);
  assert.deepEqual(preview.rows().map((r) => [r.events, r.total]), plain.rows().map((r) => [r.events, r.total]));
  const shown = preview.panes();
  assert.deepEqual(shown.map((p) => [p.events, p.total, p.pane.timing, p.pane.retraction]), [
    [2, 3, "early", false],
    [3, 9007199254740996n, "on_time", false],
    [2, 3, "early", true],
  ]);
  assert.deepEqual(shown[1].values, [1, 2, 9007199254740993n]);
  assert.equal(shown[0].placement, "a");
  assert.deepEqual([shown[0].window_start, shown[0].window_end], [1_699_999_980_000, 1_700_000_040_000]);
  assert.deepEqual(
    [shown[1].pane.index, shown[1].pane.nonspeculative_index, shown[0].pane.nonspeculative_index, shown[1].pane.first, shown[1].pane.final],
    [1, 0, -1, false, true],
  );
  assert.deepEqual(preview.panes({ from: 1, count: 1 }), [shown[1]]);
  preview.dispose();
  plain.dispose();
});

test("means and variances stand in rows, late rows and panes as in their lines", async () => {
  const policy = `${POLICY}
mean = { mean = { sum = "total", count = "n" } }
n = { count = "v" }
spread = { variance = "v" }
`;
  const data = [["a", 1], ["a", 2], ["a", 4], ["b", null], ["c", -7]]
    .map(([placement, v]) => JSON.stringify({ ts: 1_700_000_000_000, placement, v })).join("\n");
  const late = '{"ts":1700009000000,"placement":"z","v":1}\n{"ts":1700000000000,"placement":"late","v":3}\n';
  const { rows, late: lateRows, ndjson, lateNdjson } = await run(`${data}\n${late}`, [], policy);
  assert.deepEqual(rows.map((r) => [r.placement, r.mean, r.spread]).slice(0, 3), [
    ["a", 2.333333, 1.555555], ["b", null, null], ["c", -7, 0],
  ]);
  assert.deepEqual(lateRows.map((r) => [r.placement, r.mean]), [["late", 3]]);
  const parsed = (lines) => lines.trim().split("\n").map((line) => JSON.parse(line));
  // The columns of a variance are the engine's own, and rows tell them as their lines do.
  assert.deepEqual(rows, parsed(ndjson));
  assert.deepEqual(lateRows, parsed(lateNdjson));
  assert.deepEqual(Object.keys(rows[0]), Object.keys(parsed(ndjson)[0]), "in the order of the line");
  const preview = await Preview.create(`${policy}
[trigger]
when = { repeatedly = { after_count = 3 } }
`.replace('by = "record"', 'by = "window"'));
  preview.pushNdjson(`${data}\n`);
  assert.deepEqual(preview.panes().map((p) => [p.placement, p.mean, p.spread]), [["a", 2.333333, 1.555555]]);
  preview.dispose();
});

test("processing time passes by ticks alone", async () => {
  const p = await Preview.create(`${POLICY.replace('by = "record"', 'by = "window"')}
[trigger]
when = { repeatedly = { after_processing_time = "10s" } }
accumulation = "accumulating"
`);
  const record = (v) => p.pushNdjson(`{"ts":1700000000000,"placement":"a","v":${v}}\n`);
  const seen = () => p.panes().map((pane) => [pane.events, pane.total, pane.pane.timing]);
  const now = 1_700_000_000_000;
  p.tick(now);
  record(1);
  p.pushNdjson('{"ts":1700000000000,"placement":"a",');
  p.tick(now + 9_999);
  assert.deepEqual(seen(), [], "ten seconds have not passed");
  p.tick(now + 10_000);
  assert.deepEqual(seen(), [[1, 1, "early"]], "a line that is not complete is not there yet");
  p.pushNdjson('"v":2}\n');
  p.tick(now + 5_000);
  assert.deepEqual(seen(), [[1, 1, "early"]], "the clock does not go back");
  record(4);
  p.tick(now + 20_000);
  assert.deepEqual(seen(), [[1, 1, "early"], [3, 7, "early"]]);
  for (const ms of [1.5, NaN, 2 ** 60, "1"]) assert.throws(() => p.tick(ms), RangeError);
  p.end();
  assert.throws(() => p.tick(now), refused("disposed", /ended/));
  assert.equal(p.rows()[0].total, 7);
  p.dispose();
  assert.throws(() => p.tick(now), refused("disposed", /make another one/));
});
