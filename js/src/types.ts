// Plain data that crosses between the engine's side and the caller's.
//
// Integers are numbers where that is exact (up to 2^53 - 1 in magnitude) and bigints beyond: adding the two throws, so a
// total is never rounded in silence. Times are numbers of milliseconds since the epoch (UTC).

/** An exact integer. */
export type Int = number | bigint;

/**
 * A row with the fields of its NDJSON line, in their order: the key's fields, `window_start`, `window_end`, the measures,
 * then `state` (main rows) or `arrival_day` (late rows: `YYYY-MM-DD` or null).
 */
export interface Row {
  [column: string]: Int | string | boolean | null;
  window_start: number;
  window_end: number;
}

/** The main rows of one window together. */
export interface WindowTotal {
  start: number;
  end: number;
  state: "provisional" | "final";
  keys: number;
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
  filtered: Int;
  duplicate: Int;
  /** Of `late`: in no table. */
  late_dropped: Int;
  /** Of `counted`: behind the watermark. */
  late_accepted: Int;
  /** Of `counted`: clock too far ahead. */
  future_counted: Int;
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
  measures: { name: string; op: string }[];
  /** Where the arrival time stands in a record; null: the source says it, and a file does not. */
  arrivalField: string | null;
}

/** Which part of a list. */
export interface Range {
  from?: number;
  count?: number;
}
