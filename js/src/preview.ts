/// <reference lib="esnext.disposable" preserve="true" />
// A policy tried on data, here: the engine that production runs, its rows in memory.
//
// Invariants
// - The same records in any cut give the same rows, late rows, dead letters and accounting.
// - One instance of the engine each: a trap voids this preview and no other.
// - What comes out is plain data; nothing but the preview itself is to be disposed. One that nobody disposed of is freed by
//   the garbage collector, late or never.
//
// Not here: windows, watermarks, formats of rows (Rust), workers (`worker`).

import type { Bindings, BindingsRows } from "./bindings.js";
import { Engine, type EngineInfo } from "./engine.js";
import { PlimsollError, textOf, type Diagnostic } from "./error.js";
import { Lines, type Piece } from "./lines.js";
import { runtime, type Runtime } from "./runtime.js";
import { chunksOf, type Input, type ReadOptions } from "./stream.js";
import type { Account, DeadRecord, Pane, PolicyInfo, Progress, Range, Row, WindowTotal } from "./types.js";

/** Effects are merged at least every so many bytes of input: the engine holds no more than these give. */
const FLUSH_BYTES = 8 << 20;
/** Rows, late rows or dead letters of one answer where nobody says how many. */
const RANGE_COUNT = 100;

export interface PreviewOptions {
  /** The policy's file name: decides between TOML and JSON, and stands in messages. */
  fileName?: string;
  /** The data's name, for the positions of dead letters. Default `input`. */
  name?: string;
}

export class Preview implements Disposable {
  /** The engine that runs it. */
  readonly engine: EngineInfo;
  readonly policy: PolicyInfo;
  /**
   * `field`: arrival times come from the records. `unknown`: neither the policy nor the data says when a record arrived,
   * and lateness is judged by the order of the lines. Results must be shown with that label.
   */
  readonly arrival: "field" | "unknown";
  readonly #name: string;
  readonly #instance: Engine;
  readonly #handle: number;
  readonly #rows: BindingsRows;
  readonly #lines = new Lines();
  #unflushed = 0;
  #dirty = false;
  #ended = false;
  #closed: PlimsollError | undefined;

  /** Checks the policy and makes a preview of it; loads the engine if need be. */
  static async create(policy: string, options: PreviewOptions = {}): Promise<Preview> {
    return new Preview(await runtime(), policy, options);
  }

  /** What is wrong with a policy; empty if nothing is. */
  static async check(policy: string, fileName = ""): Promise<Diagnostic[]> {
    return (await runtime()).bindings.check(policy, fileName);
  }

  /** What a policy does, in plain sentences. */
  static async explain(policy: string, fileName = ""): Promise<string> {
    return right((await runtime()).bindings, policy, fileName).explain(policy, fileName);
  }

  /** The canonical form of a policy: its digest is the policy's identity. */
  static async canonical(policy: string, fileName = ""): Promise<Uint8Array> {
    return right((await runtime()).bindings, policy, fileName).canonical(policy, fileName);
  }

  /** @internal */
  constructor(rt: Runtime, policy: string, { fileName = "", name = "input" }: PreviewOptions) {
    const canonical = right(rt.bindings, policy, fileName).canonical(policy, fileName);
    this.engine = rt.engine.info;
    this.policy = rt.bindings.describe(policy, fileName);
    this.arrival = this.policy.arrivalField === null ? "unknown" : "field";
    this.#name = name;
    this.#instance = new Engine(rt.engine.module);
    this.#handle = this.#instance.open(canonical);
    this.#rows = rt.bindings.rows(canonical);
  }

  /** Feeds newline-delimited records; a line may be cut anywhere between two calls. */
  pushNdjson(data: Uint8Array | string): void {
    this.#alive();
    if (this.#ended) throw new PlimsollError("disposed", "this preview has ended; make another one for more data");
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    this.#feed(this.#lines.push(bytes));
  }

  /**
   * Processing time has come to `ms`, in milliseconds since the epoch: triggers that wait for it give out their panes, and
   * those of later records count from it. It is 0 at first, passes in no other way, and does not go back. The lines before
   * count with it; one that is not complete yet does not.
   */
  tick(ms: number): void {
    this.#alive();
    if (this.#ended) throw new PlimsollError("disposed", "this preview has ended; make another one for more data");
    if (!Number.isSafeInteger(ms)) throw new RangeError(`a tick at ${ms}: whole milliseconds since the epoch expected`);
    this.#guarded(() => {
      this.#instance.tick(this.#handle, this.#lines.count, ms);
      this.#dirty = true;
    });
  }

  /** Reads a file, blob or stream to its end, gzip included. It ends the preview. */
  async read(input: Input, options: ReadOptions = {}): Promise<void> {
    for await (const chunk of chunksOf(input, options)) this.pushNdjson(chunk);
    this.end();
  }

  /** The data is complete: the last line counts even without its newline. A second call does nothing. */
  end(): void {
    this.#alive();
    if (this.#ended) return;
    this.#feed(this.#lines.end());
    this.#ended = true;
    this.#flush("drain");
  }

  /** Main rows, by window and key. Default: the first 100. */
  rows(range: Range = {}): Row[] {
    return this.#part(range, (rows, from, count) => rows.main(from, count));
  }

  /** Late rows, by window, arrival day and key. Default: the first 100. */
  lateRows(range: Range = {}): Row[] {
    return this.#part(range, (rows, from, count) => rows.late(from, count));
  }

  /** Records set aside, in the order of the data. Default: the first 100. */
  deadLetters(range: Range = {}): DeadRecord[] {
    const dead = this.#part(range, (rows, from, count) => rows.dead(from, count));
    return dead.map((d) => ({ position: `${this.#name}:${BigInt(d.ordinal) + 1n}`, ...d }));
  }

  /** What triggers gave out, in that order. Default: the first 100. Windows still open at the end give rows, and no pane. */
  panes(range: Range = {}): Pane[] {
    return this.#part(range, (rows, from, count) => rows.panes(from, count));
  }

  /** Totals of the `measure`-th measure by window. */
  windows(measure = 0): WindowTotal[] {
    return this.#fresh((rows) => rows.windows(measure));
  }

  /** All main rows as NDJSON in UTF-8: the very bytes of `plimsoll preview`. */
  ndjson(): Uint8Array<ArrayBuffer> {
    return this.#fresh((rows) => rows.mainNdjson());
  }

  /** All late rows as NDJSON in UTF-8. */
  lateNdjson(): Uint8Array<ArrayBuffer> {
    return this.#fresh((rows) => rows.lateNdjson());
  }

  /** All records set aside as NDJSON in UTF-8: the very bytes of `plimsoll preview --dead-out`. */
  deadNdjson(): Uint8Array<ArrayBuffer> {
    const lines = this.deadLetters({ count: this.counts.dead }).map((d) => `${deadLine(d)}\n`);
    return new TextEncoder().encode(lines.join(""));
  }

  /** How many rows, late rows and dead letters there are. */
  get counts(): { rows: number; late: number; dead: number } {
    return this.#fresh((rows) => ({ rows: rows.length, late: rows.lateLength, dead: rows.deadLength }));
  }

  /** Where the records went. */
  get account(): Account {
    return this.#fresh((rows) => rows.account());
  }

  /** How far event time has come. */
  get progress(): Progress {
    return this.#fresh((rows) => rows.progress());
  }

  /** Lines read so far, empty ones included. */
  get lines(): number {
    return this.#lines.count;
  }

  /** Gives the memory back. A second call does nothing; every other use throws. */
  dispose(): void {
    if (!this.#closed) this.#close(new PlimsollError("disposed", "this preview was disposed; make another one"));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #feed(pieces: Iterable<Piece>): void {
    this.#guarded(() => {
      for (const piece of pieces) {
        this.#instance.apply(this.#handle, piece);
        this.#dirty = true;
        this.#unflushed += piece.length;
        if (this.#unflushed >= FLUSH_BYTES) this.#flush();
      }
    });
  }

  #flush(mode: "all" | "drain" = "all"): void {
    this.#guarded(() => {
      // Panes first: a flush forgets them.
      if (this.policy.panes) this.#rows.addPanes(this.#instance.panes(this.#handle));
      this.#rows.add(this.#instance.flush(this.#handle, mode));
      this.#unflushed = 0;
      this.#dirty = false;
    });
  }

  #fresh<T>(ask: (rows: BindingsRows) => T): T {
    this.#alive();
    if (this.#dirty) this.#flush();
    return this.#guarded(() => ask(this.#rows));
  }

  #part<T>(range: Range, ask: (rows: BindingsRows, from: number, count: number) => T): T {
    const [from, count] = bounds(range);
    return this.#fresh((rows) => ask(rows, from, count));
  }

  #alive(): void {
    if (this.#closed) throw this.#closed;
  }

  // Whatever fails in the middle leaves rows that nobody can vouch for: the preview ends with it.
  #guarded<T>(f: () => T): T {
    try {
      return f();
    } catch (e) {
      const trap = e instanceof WebAssembly.RuntimeError;
      const error = e instanceof PlimsollError ? e : new PlimsollError(trap ? "trap" : "input", textOf(e), { cause: e });
      if (!this.#closed) this.#close(error);
      throw error;
    }
  }

  #close(why: PlimsollError): void {
    this.#closed = why;
    try {
      this.#rows.free();
      this.#instance.close(this.#handle);
    } catch {
      // A dead instance has nothing to give back; it goes with the last reference to it.
    }
  }
}

/** A record set aside as the host writes it: text where it is UTF-8, else base64. */
function deadLine({ position, reason, detail, arrival, length, raw }: DeadRecord): string {
  const text = utf8(raw);
  const record = text === undefined ? `"raw_base64":"${base64(raw)}"` : `"raw":${JSON.stringify(text)}`;
  const [at, why, words] = [position, reason, detail].map((s) => JSON.stringify(s));
  return `{"position":${at},"reason":${why},"detail":${words},"arrival":${arrival},"length":${length},${record}}`;
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function base64(bytes: Uint8Array): string {
  // In pieces: a call takes only so many arguments.
  let binary = "";
  for (let i = 0; i < bytes.length; i += 8_192) binary += String.fromCharCode(...bytes.subarray(i, i + 8_192));
  return btoa(binary);
}

/** The bindings, if the policy is right. */
function right(bindings: Bindings, policy: string, fileName: string): Bindings {
  const diagnostics = bindings.check(policy, fileName);
  const first = diagnostics[0];
  if (!first) return bindings;
  const more = diagnostics.length > 1 ? ` (and ${diagnostics.length - 1} more)` : "";
  const hint = first.hint ? `, ${first.hint}` : "";
  throw new PlimsollError("policy", `${fileName || "policy"}:${first.line}:${first.column}: ${first.message}${hint}${more}`, { diagnostics });
}

function bounds({ from = 0, count = RANGE_COUNT }: Range): [number, number] {
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(count) || from < 0 || count < 0 || from > 0xffff_ffff || count > 0xffff_ffff) {
    throw new RangeError(`a range from ${from} of ${count}: whole numbers from 0 to 4294967295 expected`);
  }
  return [from, count];
}
