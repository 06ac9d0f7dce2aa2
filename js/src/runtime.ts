// What is loaded once per script: the engine and the bindings.
//
// Invariants
// - Loading is idempotent; a failed load is forgotten, so that it can be tried again.
// - Nothing is loaded at import, and nothing with top-level await.

import { loadBindings, type Bindings } from "./bindings.js";
import { loadEngine, type EngineInfo, type LoadedEngine } from "./engine.js";
import { PlimsollError } from "./error.js";
import { bytesOf, type WasmSource } from "./source.js";

/** Where the two modules come from. One that is left out comes from beside the package's script. */
export interface Sources {
  /** `plimsoll.wasm`: the engine. */
  engine?: WasmSource;
  /** `plimsoll_bindings.wasm`. */
  bindings?: WasmSource;
}

/** What a preview runs on. */
export interface Runtime {
  engine: LoadedEngine;
  bindings: Bindings;
}

let defaults: (() => Required<Sources>) | undefined;
let loading: Promise<Runtime> | undefined;

/** Hands in where modules come from when nobody says. */
export function defaultSources(from: () => Required<Sources>): void {
  defaults = from;
}

/** Loads engine and bindings, once. `source` counts at the first call only. */
export async function load(source?: WasmSource | Sources): Promise<EngineInfo> {
  return (await runtime(source)).engine.info;
}

/** The engine's version, ABI and digest: compare it with the host's. */
export function engineInfo(): Promise<EngineInfo> {
  return load();
}

/** The loaded runtime. */
export function runtime(source?: WasmSource | Sources): Promise<Runtime> {
  loading ??= start(source).catch((e: unknown) => {
    loading = undefined;
    throw e;
  });
  return loading;
}

async function start(source: WasmSource | Sources | undefined): Promise<Runtime> {
  const given: Sources = source === undefined ? {} : isSources(source) ? source : { engine: source };
  const { engine, bindings } = { ...defaults?.(), ...definedOnly(given) };
  if (!engine || !bindings) {
    throw new PlimsollError("load", "plimsoll/slim knows no files: call `load({ engine, bindings })` with `plimsoll/plimsoll.wasm` and `plimsoll/plimsoll_bindings.wasm` first");
  }
  const [a, b] = await Promise.all([
    bytesOf(engine, "plimsoll.wasm").then(loadEngine),
    bytesOf(bindings, "plimsoll_bindings.wasm").then(loadBindings),
  ]);
  return { engine: a, bindings: b };
}

function isSources(source: WasmSource | Sources): source is Sources {
  return Object.getPrototypeOf(source) === Object.prototype;
}

function definedOnly(s: Sources): Sources {
  return Object.fromEntries(Object.entries(s).filter(([, v]) => v !== undefined));
}
