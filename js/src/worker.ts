/// <reference lib="esnext.disposable" preserve="true" />
// A preview in a worker: the same verbs as promises, for data that would hold up the page.
//
// Invariants
// - Both modules are compiled once, here, and posted: the worker resolves no address.
// - After a trap, or `dispose`, the worker is ended; its memory goes back to the system. Every open and later request fails
//   with the reason.

import { runtime } from "./runtime.js";
import { PlimsollError, textOf } from "./error.js";
import type { EngineInfo } from "./engine.js";
import type { Preview, PreviewOptions } from "./preview.js";
import { fromWire, type Question, type Reply, type Request } from "./protocol.js";
import type { ReadOptions } from "./stream.js";
import type { Account, DeadRecord, Pane, PolicyInfo, Progress, Range, Row, WindowTotal } from "./types.js";

export interface WorkerOptions extends PreviewOptions {
  /** Makes the worker, where the bundler does not find `plimsoll/worker-script` by itself. */
  worker?: () => Worker;
}

interface Waiting {
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
  onProgress?: ((bytes: number) => void) | undefined;
}

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

export class PreviewWorker implements AsyncDisposable {
  engine!: EngineInfo;
  policy!: PolicyInfo;
  arrival!: Preview["arrival"];
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;
  #closed: PlimsollError | undefined;

  /** Checks the policy and makes a preview of it in a worker of its own. */
  static async create(policy: string, { worker, ...options }: WorkerOptions = {}): Promise<PreviewWorker> {
    const { engine, bindings } = await runtime();
    const preview = new PreviewWorker(worker ?? defaultWorker);
    try {
      const about = await preview.#ask<Pick<PreviewWorker, "engine" | "policy" | "arrival">>({
        call: "create", engine, bindings: bindings.module, policy, options,
      });
      preview.engine = about.engine;
      preview.policy = about.policy;
      preview.arrival = about.arrival;
      return preview;
    } catch (e) {
      preview.dispose();
      throw e;
    }
  }

  private constructor(make: () => Worker) {
    try {
      this.#worker = make();
    } catch (e) {
      throw new PlimsollError("csp", `the worker could not be started (${textOf(e)}); its script must come from the page's own origin, and worker-src must allow it`, { cause: e });
    }
    this.#worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => this.#answered(data));
    this.#worker.addEventListener("error", (e) => {
      this.#close(new PlimsollError("load", `the worker failed: ${e.message || "its script could not be loaded; is it there, and does worker-src allow it?"}`));
    });
    this.#worker.addEventListener("messageerror", () => {
      this.#close(new PlimsollError("load", "the worker could not take the compiled module; use page and worker of one release"));
    });
  }

  /** Feeds newline-delimited records. The bytes are handed over: `bytes` is empty afterwards where it owned its buffer. */
  async pushNdjson(bytes: Uint8Array): Promise<void> {
    const whole = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer;
    const own = whole ? bytes : bytes.slice();
    await this.#ask({ call: "push", bytes: own }, [own.buffer as ArrayBuffer]);
  }

  /** Processing time has come to `ms`, as in `Preview`. */
  tick(ms: number): Promise<void> {
    return this.#ask({ call: "tick", ms });
  }

  /** Reads a file to its end in the worker, gzip included. It ends the preview. Aborting ends the worker. */
  async read(input: Blob, { signal, onProgress }: ReadOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    const abort = () => this.#close(new PlimsollError("disposed", "the reading was stopped"));
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await this.#ask({ call: "read", input }, [], onProgress);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** The data is complete. */
  end(): Promise<void> {
    return this.#ask({ call: "end" });
  }

  rows(range?: Range): Promise<Row[]> {
    return this.#question("rows", range);
  }

  lateRows(range?: Range): Promise<Row[]> {
    return this.#question("lateRows", range);
  }

  deadLetters(range?: Range): Promise<DeadRecord[]> {
    return this.#question("deadLetters", range);
  }

  panes(range?: Range): Promise<Pane[]> {
    return this.#question("panes", range);
  }

  windows(measure?: number): Promise<WindowTotal[]> {
    return this.#question("windows", measure);
  }

  ndjson(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#question("ndjson");
  }

  lateNdjson(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#question("lateNdjson");
  }

  deadNdjson(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#question("deadNdjson");
  }

  counts(): Promise<Preview["counts"]> {
    return this.#question("counts");
  }

  account(): Promise<Account> {
    return this.#question("account");
  }

  progress(): Promise<Progress> {
    return this.#question("progress");
  }

  lines(): Promise<number> {
    return this.#question("lines");
  }

  /** Ends the worker. A second call does nothing. */
  dispose(): void {
    this.#close(new PlimsollError("disposed", "this preview was disposed; make another one"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  #question<T>(what: Question, ...args: unknown[]): Promise<T> {
    return this.#ask({ call: "ask", what, args });
  }

  #ask<T>(request: WithoutId<Request>, transfer: Transferable[] = [], onProgress?: (bytes: number) => void): Promise<T> {
    if (this.#closed) return Promise.reject(this.#closed);
    const id = this.#next++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, onProgress });
      try {
        this.#worker.postMessage({ ...request, id }, transfer);
      } catch (e) {
        this.#waiting.delete(id);
        reject(e);
      }
    });
  }

  #answered(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    if (!waiting) return;
    if ("read" in reply) return waiting.onProgress?.(reply.read);
    this.#waiting.delete(reply.id);
    if ("value" in reply) return waiting.resolve(reply.value as never);
    const error = fromWire(reply.error);
    waiting.reject(error);
    if (error.code === "trap") this.#close(error);
  }

  #close(why: PlimsollError): void {
    if (this.#closed) return;
    this.#closed = why;
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(why);
    this.#waiting.clear();
  }
}

// Bundlers follow this line; it must stay static text.
const defaultWorker = () => new Worker(new URL("./worker-script.js", import.meta.url), { type: "module", name: "plimsoll" });
