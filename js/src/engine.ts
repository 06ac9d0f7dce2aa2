// The engine: `plimsoll.wasm` through its raw ABI 1 (wasm/ABI.md), without glue.
//
// Invariants
// - The bytes that are hashed are the bytes that are compiled: the digest is that of the running module.
// - A module that imports anything is refused: nothing is ever handed to it.
// - Memory may move at every call: its view is asked for again after each.
// - After a trap nothing of the instance is believed: every later call throws.
//
// Not here: what is in the effects (`bindings`), cutting data into lines (`lines`).

import { PlimsollError, textOf } from "./error.js";
import type { Piece } from "./lines.js";

/** The ABI that this package speaks. */
export const ABI = 1;

/** Which engine runs. Two engines of the same digest give the same answers. */
export interface EngineInfo {
  version: string;
  abi: number;
  /** SHA-256 of the module's bytes, in lower-case hexadecimal. */
  sha256: string;
}

/** A compiled engine with its identity. It can be posted to a worker. */
export interface LoadedEngine {
  module: WebAssembly.Module;
  info: EngineInfo;
}

const FUNCTIONS = [
  "abi_version", "alloc", "free", "open", "restore", "input", "apply", "pending", "flush", "panes", "snapshot", "describe",
  "output_ptr", "output_len", "error_ptr", "error_len", "panic_ptr", "close",
] as const;
type Name = (typeof FUNCTIONS)[number];

const HEADER = 24;
const KIND_LINES = 1;
const KIND_RECORD = 2;
const KIND_TICK = 5;
const FLAG_OVERSIZE = 1;
const NO_ARRIVAL = -(2n ** 63n);
/** The panic buffer holds a length and up to this many bytes. */
const PANIC_BYTES_MAX = 1_020;

/** Compiles the engine and checks that it is one. */
export async function loadEngine(bytes: Uint8Array<ArrayBuffer>): Promise<LoadedEngine> {
  const module = await compile(bytes, "plimsoll.wasm");
  const sha256 = await digest(bytes);
  const engine = new Engine(module);
  const { version } = JSON.parse(engine.describe()) as { version: string };
  return { module, info: { version, abi: ABI, sha256 } };
}

/** Compiles, and says what to do where the page's policy forbids it. */
export async function compile(bytes: Uint8Array<ArrayBuffer>, file: string): Promise<WebAssembly.Module> {
  try {
    return await WebAssembly.compile(bytes);
  } catch (e) {
    if (/content security policy|unsafe-eval/i.test(textOf(e))) {
      throw new PlimsollError("csp", `${file}: the page's Content-Security-Policy forbids WebAssembly; add 'wasm-unsafe-eval' to its script-src`, { cause: e });
    }
    throw new PlimsollError("load", `${file}: is no valid WebAssembly (${textOf(e)}); it may have been cut off: install the package again`, { cause: e });
  }
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (!globalThis.crypto?.subtle) {
    throw new PlimsollError("load", "plimsoll.wasm: this page has no WebCrypto, so the module cannot be told by its SHA-256; open it over https or on localhost");
  }
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...hash].map((b) => b.toString(16).padStart(2, "0")).join("");
}

/** One instance of the engine. */
export class Engine {
  readonly #memory: WebAssembly.Memory;
  readonly #functions: Record<Name, (...args: number[]) => number>;
  readonly #panic: number;
  #dead: PlimsollError | undefined;

  /** Instantiates; the module was compiled before. */
  constructor(module: WebAssembly.Module) {
    const wanted = WebAssembly.Module.imports(module);
    if (wanted.length > 0) {
      const first = wanted[0]!;
      throw new PlimsollError("load", `plimsoll.wasm: imports \`${first.module}.${first.name}\`, and an engine imports nothing; this is not Plimsoll's module`);
    }
    let exports: WebAssembly.Exports;
    try {
      exports = new WebAssembly.Instance(module).exports;
    } catch (e) {
      throw new PlimsollError("load", `plimsoll.wasm: could not be started (${textOf(e)})`, { cause: e });
    }
    if (!(exports.memory instanceof WebAssembly.Memory)) throw missing("memory");
    this.#memory = exports.memory;
    const functions: Partial<Record<Name, (...args: number[]) => number>> = {};
    for (const name of FUNCTIONS) {
      const f = exports[`plimsoll_${name}`];
      if (typeof f !== "function") throw missing(`plimsoll_${name}`);
      functions[name] = f as (...args: number[]) => number;
    }
    this.#functions = functions as Record<Name, (...args: number[]) => number>;
    const abi = this.#call("abi_version");
    if (abi !== ABI) {
      throw new PlimsollError("version", `plimsoll.wasm: speaks ABI ${abi}, this package ABI ${ABI}; use the module and the package of one release`);
    }
    // Asked for now: after a trap the instance is not called any more.
    this.#panic = this.#call("panic_ptr") >>> 0;
  }

  /** The module about itself, as JSON. */
  describe(): string {
    this.#ok(this.#call("describe", 0), "describe");
    return new TextDecoder().decode(this.#output(0));
  }

  /** An engine for a policy in its canonical form: a fresh one, or one that goes on from a snapshot. */
  open(canonical: Uint8Array, snapshot?: Uint8Array): number {
    const policy = this.#give(canonical, "the policy");
    const state = snapshot && this.#give(snapshot, "the snapshot");
    const handle = state ? this.#call("restore", ...policy, ...state) : this.#call("open", ...policy);
    const refusal = handle < 0 ? this.#error() : "";
    for (const buffer of state ? [policy, state] : [policy]) this.#call("free", ...buffer);
    if (handle <= 0) {
      throw new PlimsollError("policy", `the engine refused the ${state ? "snapshot or its " : ""}policy: ${refusal} (status ${-handle})`);
    }
    return handle;
  }

  /** Puts bytes into a buffer of the engine's: its place and length. */
  #give(bytes: Uint8Array, what: string): [number, number] {
    const ptr = this.#call("alloc", bytes.length) >>> 0;
    if (ptr === 0) throw new PlimsollError("input", `the engine has no memory for ${what}; close other previews or the tab`);
    new Uint8Array(this.#memory.buffer, ptr, bytes.length).set(bytes);
    return [ptr, bytes.length];
  }

  /** Feeds frames as they are (wasm/ABI.md). */
  applyFrames(handle: number, frames: Uint8Array): void {
    const at = this.#call("input", handle, frames.length);
    if (at < 0) throw new PlimsollError("input", `the engine has no room for ${frames.length} bytes: ${this.#error()} (status ${-at})`);
    new Uint8Array(this.#memory.buffer, at, frames.length).set(frames);
    this.#ok(this.#call("apply", handle, frames.length), "apply");
  }

  /** Feeds one piece of whole lines. */
  apply(handle: number, piece: Piece): void {
    const length = HEADER + piece.length;
    const at = this.#call("input", handle, length);
    if (at < 0) throw new PlimsollError("input", `the engine has no room for ${piece.length} bytes: ${this.#error()} (status ${-at})`);
    const head = new DataView(this.#memory.buffer, at, HEADER);
    head.setUint8(0, 0);
    head.setUint8(1, piece.oversize ? KIND_RECORD : KIND_LINES);
    head.setUint8(2, piece.oversize ? FLAG_OVERSIZE : 0);
    head.setUint8(3, 0);
    head.setUint32(4, piece.length, true);
    head.setBigUint64(8, BigInt(piece.first), true);
    head.setBigInt64(16, NO_ARRIVAL, true);
    const payload = new Uint8Array(this.#memory.buffer, at + HEADER, piece.length);
    let to = 0;
    for (const part of piece.parts) {
      payload.set(part, to);
      to += part.length;
    }
    this.#ok(this.#call("apply", handle, length), "apply");
  }

  /** Says that the clock was seen at `ms`, which is the only way in which processing time passes. */
  tick(handle: number, ordinal: number, ms: number): void {
    const frame = new DataView(new ArrayBuffer(HEADER));
    frame.setUint8(1, KIND_TICK);
    frame.setBigUint64(8, BigInt(ordinal), true);
    frame.setBigInt64(16, BigInt(ms), true);
    this.applyFrames(handle, new Uint8Array(frame.buffer));
  }

  /**
   * Gives out everything pending; or what can change no more; or everything, and the rows of windows that wait for triggers,
   * which ends them. The bytes are a view that the next call takes away.
   */
  flush(handle: number, mode: "all" | "final" | "drain" = "all"): Uint8Array {
    this.#ok(this.#call("flush", handle, ["all", "final", "drain"].indexOf(mode)), "flush");
    return this.#output(handle);
  }

  /** The panes since the last call of this or of `flush`; a view like that of `flush`. */
  panes(handle: number): Uint8Array {
    this.#ok(this.#call("panes", handle), "panes");
    return this.#output(handle);
  }

  /** The state; a view like that of `flush`. */
  snapshot(handle: number): Uint8Array {
    this.#ok(this.#call("snapshot", handle), "snapshot");
    return this.#output(handle);
  }

  /** How many rows and dead letters a flush would give, at most. */
  pending(handle: number): number {
    const n = this.#call("pending", handle);
    if (n < 0) this.#ok(-n, "pending");
    return n;
  }

  /** Ends a handle. Of a dead instance there is nothing to end. */
  close(handle: number): void {
    if (!this.#dead) this.#ok(this.#call("close", handle), "close");
  }

  #output(handle: number): Uint8Array {
    const ptr = this.#call("output_ptr", handle) >>> 0;
    const length = this.#call("output_len", handle) >>> 0;
    return new Uint8Array(this.#memory.buffer, ptr, length);
  }

  #error(): string {
    const ptr = this.#call("error_ptr") >>> 0;
    const length = this.#call("error_len") >>> 0;
    return new TextDecoder().decode(new Uint8Array(this.#memory.buffer, ptr, length));
  }

  #ok(status: number, what: string): void {
    if (status !== 0) throw new PlimsollError("input", `the engine refused \`${what}\`: ${this.#error()} (status ${status})`);
  }

  #call(name: Name, ...args: number[]): number {
    if (this.#dead) throw this.#dead;
    try {
      return this.#functions[name](...args);
    } catch (e) {
      // A stack overflow comes as a RangeError, everything else as a RuntimeError.
      const text = this.#panicText() || textOf(e);
      this.#dead = new PlimsollError("trap", `the engine stopped in \`${name}\`: ${text}. Its results are void; please report this with the policy and the record`, { cause: e });
      throw this.#dead;
    }
  }

  #panicText(): string {
    if (!this.#panic) return "";
    const buffer = this.#memory.buffer;
    if (this.#panic + 4 > buffer.byteLength) return "";
    const length = new DataView(buffer).getUint32(this.#panic, true);
    if (length > PANIC_BYTES_MAX || this.#panic + 4 + length > buffer.byteLength) return "";
    return new TextDecoder().decode(new Uint8Array(buffer, this.#panic + 4, length));
  }
}

function missing(name: string): PlimsollError {
  return new PlimsollError("load", `plimsoll.wasm: has no export \`${name}\`; this is not Plimsoll's module`);
}
