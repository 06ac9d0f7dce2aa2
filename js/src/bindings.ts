// The second module: reads policies and merges effects into rows. It is made by wasm-bindgen and holds no engine state.
//
// Invariant: its glue is loaded once per script; a failed load can be tried again.

import init, * as glue from "#bindings";
import { compile } from "./engine.js";
import { PlimsollError, textOf, type Diagnostic } from "./error.js";
import type { Driven, ScenarioOutcome } from "./scenarios.js";
import type { Account, DeadRecord, Pane, PolicyInfo, Progress, Row, WindowTotal } from "./types.js";

/** A record set aside, as the bindings give it. */
export type RawDeadRecord = Omit<DeadRecord, "position">;

/** The rows of one run, inside the bindings' memory until `free`. */
export interface BindingsRows {
  readonly length: number;
  readonly lateLength: number;
  readonly deadLength: number;
  readonly panesLength: number;
  add(effects: Uint8Array): void;
  addPanes(block: Uint8Array): void;
  main(from: number, count: number): Row[];
  late(from: number, count: number): Row[];
  dead(from: number, count: number): RawDeadRecord[];
  panes(from: number, count: number): Pane[];
  mainNdjson(): Uint8Array<ArrayBuffer>;
  lateNdjson(): Uint8Array<ArrayBuffer>;
  windows(measure: number): WindowTotal[];
  account(): Account;
  progress(): Progress;
  free(): void;
}

/** What the package calls of the bindings. */
export interface Bindings {
  /** The compiled module, to be posted to a worker. */
  module: WebAssembly.Module;
  check(text: string, fileName: string): Diagnostic[];
  canonical(text: string, fileName: string): Uint8Array;
  explain(text: string, fileName: string): string;
  describe(text: string, fileName: string): PolicyInfo;
  rows(canonical: Uint8Array): BindingsRows;
  runScenarios(text: string, driven: Driven, snapshotEverywhere: boolean): ScenarioOutcome[];
}

/** Compiles and starts the bindings. */
export async function loadBindings(bytes: Uint8Array<ArrayBuffer>): Promise<Bindings> {
  return startBindings(await compile(bytes, "plimsoll_bindings.wasm"));
}

/** Starts bindings that were compiled before. */
export async function startBindings(module: WebAssembly.Module): Promise<Bindings> {
  try {
    await init({ module_or_path: module });
  } catch (e) {
    throw new PlimsollError("load", `plimsoll_bindings.wasm: could not be started (${textOf(e)}); use the files of one release`, { cause: e });
  }
  return {
    module,
    check: guarded((text: string, file: string) => glue.checkPolicy(text, file) as Diagnostic[]),
    canonical: guarded((text: string, file: string) => glue.canonicalPolicy(text, file)),
    explain: guarded((text: string, file: string) => glue.explainPolicy(text, file)),
    describe: guarded((text: string, file: string) => glue.describePolicy(text, file) as PolicyInfo),
    rows: guarded((canonical: Uint8Array) => new glue.Rows(canonical) as unknown as BindingsRows),
    runScenarios: guarded((text: string, driven: Driven, everywhere: boolean) => {
      return (glue.runScenarios(text, driven, everywhere) as { scenarios: ScenarioOutcome[] }).scenarios;
    }),
  };
}

function guarded<A extends unknown[], R>(f: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    try {
      return f(...args);
    } catch (e) {
      if (e instanceof WebAssembly.RuntimeError) {
        throw new PlimsollError("trap", `the bindings stopped: ${e.message}; load the page again and report this with the policy`, { cause: e });
      }
      throw e;
    }
  };
}
