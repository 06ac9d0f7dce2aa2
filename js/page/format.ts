// Numbers and times for people. Times are UTC and say so.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const GROUPS = /\B(?=(\d{3})+(?!\d))/g;

/** A number with separators; digits that came as text or bigint stay exact. */
export function number(v: number | bigint | string | null | undefined): string {
  if (v === null || v === undefined) return "–";
  if (typeof v === "number") return grouped.format(v);
  // Only what stands before the point is grouped.
  const [whole, ...decimals] = String(v).split(".") as [string, ...string[]];
  return [whole.replace(GROUPS, ","), ...decimals].join(".");
}

/** A date and time: `2026-11-23 19:02:13`, with milliseconds where there are any. */
export function time(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "none yet";
  const date = new Date(ms);
  // Beyond the calendar of JS: the number itself is still true.
  if (Number.isNaN(date.getTime())) return `${ms} ms`;
  const [day, clock] = date.toISOString().split("T") as [string, string];
  return `${day} ${clock.replace(/(\.000)?Z$/, "")}`;
}

/** Only the time of day, for labels: `19:02`, `19:02:13` or `19:02:13.250`. */
export function clock(ms: number): string {
  const text = time(ms).split(" ")[1] ?? String(ms);
  return text.replace(/^(\d\d:\d\d):00$/, "$1");
}

/** A window: `2026-11-23 18:00 – 18:05`, with seconds where it has any, and the second date where it is another. */
export function span(start: number, end: number): string {
  const [day, endDay] = [time(start).split(" ")[0], time(end).split(" ")[0]];
  return `${day} ${clock(start)} – ${day === endDay ? "" : `${endDay} `}${clock(end)}`;
}

/** A duration in one or two units. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "–";
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${grouped.format(Math.round(ms / 100) / 10)} s`;
  const units: [string, number][] = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1_000]];
  const first = units.findIndex(([, size]) => ms >= size);
  const [name, size] = units[first]!;
  const [nextName, nextSize] = units[first + 1] ?? ["", 0];
  const rest = nextSize ? Math.floor((ms % size) / nextSize) : 0;
  return `${number(Math.floor(ms / size))} ${name}${rest ? ` ${rest} ${nextName}` : ""}`;
}

/** A share in percent, with enough digits that a small one is not nothing. */
export function percent(part: number, whole: number): string {
  if (!whole) return "";
  const p = (part / whole) * 100;
  return `${p !== 0 && p < 0.01 ? "< 0.01" : p.toFixed(p < 1 ? 2 : 1)} %`;
}
