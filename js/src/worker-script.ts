// The script of the worker: one self-contained file, one preview. It resolves no address: modules come compiled.

import { startBindings } from "./bindings.js";
import { PlimsollError } from "./error.js";
import { Preview } from "./preview.js";
import { toWire, type Reply, type Request } from "./protocol.js";

/** What this script uses of a worker's global scope. */
interface Scope {
  postMessage(message: Reply, transfer?: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<Request>) => void): void;
}

/** At most so often a reading says how far it has come. */
const PROGRESS_MS = 100;

const scope = self as unknown as Scope;
let preview: Preview | undefined;
// Requests are done one after the other: a question waits for the reading before it.
let queue: Promise<void> = Promise.resolve();

scope.addEventListener("message", ({ data }) => {
  queue = queue.then(async () => {
    try {
      const value = await answer(data);
      const buffers = value instanceof Uint8Array ? [value.buffer as ArrayBuffer] : [];
      scope.postMessage({ id: data.id, value }, buffers);
    } catch (e) {
      scope.postMessage({ id: data.id, error: toWire(e) });
    }
  });
});

async function answer(request: Request): Promise<unknown> {
  if (request.call === "create") {
    const bindings = await startBindings(request.bindings);
    preview = new Preview({ engine: request.engine, bindings }, request.policy, request.options);
    return { engine: preview.engine, policy: preview.policy, arrival: preview.arrival };
  }
  if (!preview) throw new PlimsollError("disposed", "the worker has no preview; `create` comes first");
  switch (request.call) {
    case "push":
      return preview.pushNdjson(request.bytes);
    case "tick":
      return preview.tick(request.ms);
    case "read": {
      let told = 0;
      const onProgress = (read: number) => {
        if (performance.now() - told < PROGRESS_MS) return;
        told = performance.now();
        scope.postMessage({ id: request.id, read });
      };
      return preview.read(request.input, { onProgress });
    }
    case "end":
      return preview.end();
    case "ask": {
      const asked = preview[request.what];
      return typeof asked === "function" ? (asked as (...args: unknown[]) => unknown).apply(preview, request.args) : asked;
    }
  }
}
