// Plain data that crosses between the engine's side and the caller's.
//
// Integers are numbers where that is exact (up to 2^53 - 1 in magnitude) and bigints beyond: adding the two throws, so a
// total is never rounded in silence. Times are numbers of milliseconds since the epoch (UTC).

/** An exact integer. */
export type Int = number | bigint;

/**
 * A row with the fields of its NDJSON line, in their order: the key's fields, `window_start`, `window_end`, the measures,
 * means and variances (the number nearest to the line's decimal; null where nothing was counted), then `state` (main rows)
 * or `arrival_day` (late rows: `YYYY-MM-DD` or null). A measure with decimals is its text, "12.30": no number holds it exactly.
 * The row that counts the records of all keys beyond the window's budget (`limits.keys_per_window`) has null in the key's fields,
 * and `overflow: true` before the state.
 */
export interface Row {
  [column: string]: Int | string | boolean | null;
  window_start: number;
  window_end: number;
}

/** What a pane says of itself. */
export interface PaneInfo {
  timing: "early" | "on_time" | "late";
  /** Its number among the window's panes, from 0. */
  index: Int;
  /** Its number among those that are not early; -1 while early. */
  nonspeculative_index: Int;
  first: boolean;
  final: boolean;
  /** It takes back what an earlier pane said. */
  retraction: boolean;
  timestamp: Int;
  /** The watermark when it came out; null while nothing was known. */
  watermark: Int | null;
}

/** A scalar of a record. */
export type Scalar = Int | string | boolean | null;

/**
 * What a trigger gave out: the key's fields, `window_start`, `window_end`, the measures, means and variances, what is kept beside them (a scalar,
 * a list, or `{ value, count }` each), and `pane`.
 */
export interface Pane {
  [column: string]: Scalar | Scalar[] | { value: Scalar; count: Int }[] | PaneInfo;
  window_start: Int;
  window_end: Int;
  pane: PaneInfo;
}

/** The main rows of one window together. */
export interface WindowTotal {
  start: number;
  end: number;
  state: "provisional" | "final";
  keys: number;
  /** Of a measure with decimals the nearest number. */
  total: Int;
}

/** A record set aside. */
export interface DeadRecord {
  /** The input's name and the line, from 1: `events.ndjson:17`. */
  position: string;
  /** Its line, from 0. */
  ordinal: Int;
  /** Stable name, as in metrics: `bad_time`. */
  reason: string;
  /** What was found and what was expected. */
  detail: string;
  arrival: number | null;
  /** Its length in bytes. */
  length: Int;
  /** Its first bytes. */
  raw: Uint8Array;
}

/** Where the records went: `read` is the sum of the next six. */
export interface Account {
  read: Int;
  counted: Int;
  late: Int;
  future: Int;
  rejected: Int;
  /** Left out by the policy's `where`, or in no window. */
  filtered: Int;
  duplicate: Int;
  /** Of `late`: in no table. */
  late_dropped: Int;
  /** Of `counted`: behind the watermark. */
  late_accepted: Int;
  /** Of `counted`: clock too far ahead. */
  future_counted: Int;
  /** Of `counted`: in overflow rows, of keys beyond a window's budget. */
  overflow: Int;
  /** `rejected` by reason. */
  reasons: Record<string, Int>;
}

/** How far event time has come; null where nothing is known yet. */
export interface Progress {
  watermark: number | null;
  arrival: number | null;
  event: number | null;
}

/** What a policy's rows look like. */
export interface PolicyInfo {
  name: string;
  /** SHA-256 of its canonical form: its identity. */
  sha256: string;
  /** Key columns. */
  keys: string[];
  measures: { name: string; op: string; decimals: number }[];
  /** Where the arrival time stands in a record; null: the source says it, and a file does not. */
  arrivalField: string | null;
  /** Whether a trigger gives out panes. */
  panes: boolean;
}

/** Which part of a list. */
export interface Range {
  from?: number;
  count?: number;
}
