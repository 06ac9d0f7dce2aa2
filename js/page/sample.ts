// A policy and records to begin with: two hours of a few players, with the troubles that real ones have.

export const SAMPLE_POLICY = `policy = "impressions"

[input]
format = "json"
time   = { field = "ts", unit = "ms" }
arrival = { field = "seen", unit = "ms" }
key    = ["placement"]

[window]
fixed = "5m"

[watermark]
quantile = 0.5          # the median: some clocks run ahead
delay = "10m"
max_future = "5m"

[late]
by = "record"
to = "table"

[measures]
events      = "count"
impressions = { sum = "impressions" }
longest_ms  = { max = "watch_ms" }
`;

const RECORDS = 20_000;
const START = Date.UTC(2026, 10, 23, 18);
const SPAN = 2 * 3_600_000;

/** The sample's records as NDJSON, the same ones every time. */
export function sampleRecords(): Blob {
  const next = mulberry32(7);
  const lines: string[] = [];
  for (let i = 0; i < RECORDS; i++) {
    const seen = START + Math.floor((i * SPAN) / RECORDS);
    const lag = 500 + Math.floor(next() * next() * 20_000);
    const kind = next();
    // One in a hundred was offline for a while, one in five hundred has a fast clock.
    const offline = kind < 0.01 ? 15 * 60_000 + Math.floor(next() * 1_800_000) : 0;
    const ahead = kind > 0.998 ? 6 * 3_600_000 : 0;
    const record = {
      ts: seen - lag - offline + ahead, seen, placement: `p-${String(1 + Math.floor(next() * next() * 12)).padStart(3, "0")}`,
      impressions: 1 + Math.floor(next() * 4), watch_ms: Math.floor(next() * 30_000),
    };
    if (kind > 0.5 && kind < 0.501) lines.push(`{"ts":${record.ts},"placement":`);
    else if (kind > 0.501 && kind < 0.5015) lines.push(JSON.stringify({ ...record, ts: Math.floor(record.ts / 1000) }));
    else lines.push(JSON.stringify(record));
  }
  return new Blob([lines.join("\n"), "\n"]);
}

function mulberry32(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
