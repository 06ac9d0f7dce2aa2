// What the tests share: a policy, records with troubles, and a recomputation that knows nothing of the engine.

import { fileURLToPath } from "node:url";

export const dist = (name) => new URL(`../dist/${name}`, import.meta.url);
export const pathOf = (name) => fileURLToPath(dist(name));

/** Counts, sums and maxima per placement and minute; nothing is late, since the watermark follows far behind. */
export const POLICY = `
policy = "test"
[input]
format = "json"
time = { field = "ts", unit = "ms" }
key = ["placement"]
[window]
fixed = "1m"
[watermark]
max = true
delay = "10m"
[late]
by = "record"
to = "table"
[measures]
events = "count"
total = { sum = "v" }
top = { max = "v" }
`;

/** A seeded generator (mulberry32): the same numbers on every machine. */
export function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Records over some minutes: most in order, some late, some broken in different ways, some lines empty. */
export function records(count, seed) {
  const next = random(seed);
  const lines = [];
  for (let i = 0; i < count; i++) {
    const late = next() < 0.02 ? 15 * 60_000 + Math.floor(next() * 60_000) : 0;
    const ts = 1_700_000_000_000 + i * 500 - late;
    const placement = `p-${Math.floor(next() * next() * 20)}`;
    const kind = next();
    if (kind < 0.005) lines.push("not json");
    else if (kind < 0.01) lines.push(JSON.stringify({ placement, v: 1 }));
    else if (kind < 0.015) lines.push(JSON.stringify({ ts, placement, v: "many" }));
    else if (kind < 0.02) lines.push("");
    else lines.push(JSON.stringify({ ts, placement: kind < 0.03 ? `ü "${placement}"\n` : placement, v: Math.floor(next() * 1000) - 100 }));
  }
  return `${lines.join("\n")}\n`;
}

/** The same policy by hand: groups in maps, the watermark as the definition says. */
export function recompute(text) {
  const main = new Map();
  const late = new Map();
  const account = { read: 0, counted: 0, late: 0, rejected: 0 };
  let greatest = -Infinity;
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    account.read++;
    let r;
    try {
      r = JSON.parse(line);
    } catch {
      account.rejected++;
      continue;
    }
    if (!Number.isInteger(r.ts) || typeof r.placement !== "string" || !Number.isInteger(r.v)) {
      account.rejected++;
      continue;
    }
    const isLate = r.ts < greatest - 600_000;
    account[isLate ? "late" : "counted"]++;
    const start = Math.floor(r.ts / 60_000) * 60_000;
    const rows = isLate ? late : main;
    const id = JSON.stringify([start, r.placement]);
    const row = rows.get(id) ?? { placement: r.placement, window_start: start, window_end: start + 60_000, events: 0, total: 0, top: -Infinity };
    row.events++;
    row.total += r.v;
    row.top = Math.max(row.top, r.v);
    rows.set(id, row);
    if (!isLate) greatest = Math.max(greatest, r.ts);
  }
  const bytes = (row) => Buffer.from(JSON.stringify([row.placement]));
  const sorted = (rows) => [...rows.values()].sort((a, b) => a.window_end - b.window_end || Buffer.compare(bytes(a), bytes(b)));
  const watermark = greatest - 600_000;
  return {
    main: sorted(main).map((r) => ({ ...r, state: r.window_end <= watermark ? "final" : "provisional" })),
    late: sorted(late).map((r) => ({ ...r, arrival_day: null })),
    account,
    watermark,
  };
}
