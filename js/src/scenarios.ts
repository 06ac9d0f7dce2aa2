// Scenarios: a policy, steps and the panes that must come out, run through the package's own engine.
//
// Invariants
// - They are judged by the code that `plimsoll scenario` runs: the same file gives the same verdicts.
// - What is tested is what runs: each scenario has a handle of its own in an instance of `plimsoll.wasm`.
//
// Not here: what a scenario is, and the judge (Rust).

import { Engine, type EngineInfo } from "./engine.js";
import { PlimsollError, textOf } from "./error.js";
import { runtime } from "./runtime.js";

/** What became of one scenario. */
export type ScenarioOutcome =
  | { name: string; verdict: "passed" }
  /** `step` counts from 1; null where the scenario as a whole is at fault. */
  | { name: string; verdict: "failed"; step: number | null; expected: string; got: string }
  /** It wants what this engine does not offer: `reason` names it. */
  | { name: string; verdict: "skipped"; reason: string };

/** What became of the scenarios of a file, in the file's order. */
export interface ScenarioReport {
  /** The engine that ran them. */
  engine: EngineInfo;
  passed: number;
  failed: number;
  skipped: number;
  scenarios: ScenarioOutcome[];
}

export interface ScenarioOptions {
  /** Save, forget the engine and restore between every two steps: it must not show. */
  snapshotEverywhere?: boolean;
}

/** What the bindings call: one engine at a time. */
export interface Driven {
  open(canonical: Uint8Array, snapshot: Uint8Array | undefined): void;
  apply(frames: Uint8Array): void;
  flush(): Uint8Array;
  panes(): Uint8Array;
  snapshot(): Uint8Array;
}

/**
 * Runs the scenarios of a file (`plimsoll-scenario/1`), given as its text or as the object it holds. A scenario that does
 * not hold is in the report; a file that holds no scenarios throws.
 */
export async function runScenarios(file: string | object, options: ScenarioOptions = {}): Promise<ScenarioReport> {
  const rt = await runtime();
  const driven = new Driver(rt.engine.module);
  let scenarios: ScenarioOutcome[];
  try {
    const text = typeof file === "string" ? file : JSON.stringify(file);
    scenarios = rt.bindings.runScenarios(text, driven, options.snapshotEverywhere ?? false);
  } catch (e) {
    throw e instanceof PlimsollError ? e : new PlimsollError("input", textOf(e), { cause: e });
  } finally {
    driven.close();
  }
  const count = (verdict: ScenarioOutcome["verdict"]) => scenarios.filter((s) => s.verdict === verdict).length;
  return { engine: rt.engine.info, passed: count("passed"), failed: count("failed"), skipped: count("skipped"), scenarios };
}

class Driver implements Driven {
  readonly #module: WebAssembly.Module;
  #engine: Engine | undefined;
  #handle = 0;

  constructor(module: WebAssembly.Module) {
    this.#module = module;
  }

  open(canonical: Uint8Array, snapshot: Uint8Array | undefined): void {
    this.close();
    this.#engine = new Engine(this.#module);
    this.#handle = this.#engine.open(canonical, snapshot);
  }

  apply(frames: Uint8Array): void {
    this.#open().applyFrames(this.#handle, frames);
  }

  flush(): Uint8Array {
    return this.#open().flush(this.#handle, "final").slice();
  }

  panes(): Uint8Array {
    return this.#open().panes(this.#handle).slice();
  }

  snapshot(): Uint8Array {
    return this.#open().snapshot(this.#handle).slice();
  }

  close(): void {
    this.#engine?.close(this.#handle);
    this.#engine = undefined;
  }

  #open(): Engine {
    if (!this.#engine) throw new PlimsollError("disposed", "no engine is open");
    return this.#engine;
  }
}
