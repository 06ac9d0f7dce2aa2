// The one error class of the package. `code` is stable: programs decide by it, people read the message.
//
// Not here: what is wrong inside a record (that is no error: it is counted, with its reason).

/** What is wrong with a policy, where, and the mend. Lines and columns count from 1, `from` and `to` are bytes of UTF-8. */
export interface Diagnostic {
  code: string;
  path: string;
  line: number;
  column: number;
  from: number;
  to: number;
  message: string;
  hint: string | null;
}

/**
 * - `policy`: the policy is refused; `diagnostics` says why and where.
 * - `input`: the data cannot be read.
 * - `disposed`: used after `dispose` or `end`.
 * - `load`: the module could not be had, or is not what it should be.
 * - `csp`: the page's Content-Security-Policy forbids WebAssembly or the worker.
 * - `trap`: the engine stopped on a fault of its own; its instance is thrown away.
 * - `version`: the module speaks another ABI than this package.
 */
export type ErrorCode = "policy" | "input" | "disposed" | "load" | "csp" | "trap" | "version";

export class PlimsollError extends Error {
  override readonly name = "PlimsollError";
  readonly code: ErrorCode;
  /** Of a refused policy, in order of place; else empty. */
  readonly diagnostics: Diagnostic[];

  constructor(code: ErrorCode, message: string, more: { cause?: unknown; diagnostics?: Diagnostic[] } = {}) {
    super(message, { cause: more.cause });
    this.code = code;
    this.diagnostics = more.diagnostics ?? [];
  }
}

/** The text of anything that was thrown. */
export function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
