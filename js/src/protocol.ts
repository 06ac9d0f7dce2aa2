// What page and worker say to each other.

import type { LoadedEngine } from "./engine.js";
import { PlimsollError, textOf, type Diagnostic, type ErrorCode } from "./error.js";
import type { PreviewOptions } from "./preview.js";

/** A request; every one is answered by a reply with its number. */
export type Request = { id: number } & (
  | { call: "create"; engine: LoadedEngine; bindings: WebAssembly.Module; policy: string; options: PreviewOptions }
  | { call: "push"; bytes: Uint8Array }
  | { call: "tick"; ms: number }
  | { call: "read"; input: Blob }
  | { call: "end" }
  | { call: "ask"; what: Question; args: unknown[] }
);

/** What can be asked of the preview in the worker. */
export type Question = "rows" | "lateRows" | "deadLetters" | "panes" | "windows" | "ndjson" | "lateNdjson" | "deadNdjson" | "counts" | "account" | "progress" | "lines";

/** An answer, or word of how far a reading has come. */
export type Reply = { id: number } & ({ value: unknown } | { error: WireError } | { read: number });

/** An error on its way: classes do not survive posting. */
export interface WireError {
  code: ErrorCode;
  message: string;
  diagnostics: Diagnostic[];
}

export function toWire(e: unknown): WireError {
  if (e instanceof PlimsollError) return { code: e.code, message: e.message, diagnostics: e.diagnostics };
  return { code: e instanceof WebAssembly.RuntimeError ? "trap" : "input", message: textOf(e), diagnostics: [] };
}

export function fromWire(e: WireError): PlimsollError {
  return new PlimsollError(e.code, e.message, { diagnostics: e.diagnostics });
}
