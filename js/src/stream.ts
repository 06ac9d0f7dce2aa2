// Files and streams as chunks of NDJSON bytes; gzip is unpacked on the way.
//
// Invariant: what is compressed is told by its first bytes, not by its name.

import { PlimsollError, textOf } from "./error.js";

/** What can be read: a dropped file, the answer of a fetch, a stream. */
export type Input = Blob | ReadableStream<Uint8Array<ArrayBuffer>>;

export interface ReadOptions {
  /** Ends the reading with the signal's reason. */
  signal?: AbortSignal;
  /** Told after each chunk: bytes read of the input, compressed ones counted compressed. */
  onProgress?: (bytes: number) => void;
}

const GZIP = [0x1f, 0x8b];
const ZSTD = [0x28, 0xb5, 0x2f, 0xfd];

/** The bytes of an input, unpacked. */
export async function* chunksOf(input: Input, { signal, onProgress }: ReadOptions = {}): AsyncGenerator<Uint8Array> {
  const name = typeof File !== "undefined" && input instanceof File ? input.name : "the input";
  const source = (input instanceof Blob ? input.stream() : input).getReader();
  let read = 0;
  const next = async (): Promise<Uint8Array<ArrayBuffer> | undefined> => {
    signal?.throwIfAborted();
    const { done, value } = await source.read();
    if (done) return undefined;
    read += value.length;
    onProgress?.(read);
    return value;
  };
  try {
    const head = await atLeast(ZSTD.length, next);
    if (starts(head, ZSTD)) {
      throw new PlimsollError("input", `${name} is packed with zstd, which browsers do not unpack; unpack it (zstd -d) or pack it with gzip`);
    }
    if (starts(head, GZIP)) {
      yield* unzipped(head, next, name);
      return;
    }
    if (head.length > 0) yield head;
    for (let chunk = await next(); chunk; chunk = await next()) yield chunk;
  } catch (e) {
    if (e instanceof PlimsollError || signal?.aborted) throw e;
    throw new PlimsollError("input", `${name} could not be read: ${textOf(e)}; was it changed or taken away meanwhile?`, { cause: e });
  } finally {
    // Also when the caller leaves early: the file is let go.
    await source.cancel().catch(() => undefined);
  }
}

async function* unzipped(head: Uint8Array<ArrayBuffer>, next: () => Promise<Uint8Array<ArrayBuffer> | undefined>, name: string): AsyncGenerator<Uint8Array> {
  let pending: Uint8Array<ArrayBuffer> | undefined = head;
  let failed: unknown;
  const packed = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(to) {
      try {
        const chunk = pending ?? (await next());
        pending = undefined;
        if (chunk) to.enqueue(chunk);
        else to.close();
      } catch (e) {
        failed = e;
        to.error(e);
      }
    },
  });
  const reader = packed.pipeThrough(new DecompressionStream("gzip")).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch (e) {
    if (failed !== undefined) throw failed;
    throw new PlimsollError("input", `${name}: the gzip data is damaged, cut off, or of several parts (${textOf(e)}); unpack it (gzip -d) and see`, { cause: e });
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

async function atLeast(n: number, next: () => Promise<Uint8Array<ArrayBuffer> | undefined>): Promise<Uint8Array<ArrayBuffer>> {
  let head = new Uint8Array(0);
  while (head.length < n) {
    const chunk = await next();
    if (!chunk) break;
    if (head.length === 0) {
      head = chunk;
      continue;
    }
    const joined = new Uint8Array(head.length + chunk.length);
    joined.set(head);
    joined.set(chunk, head.length);
    head = joined;
  }
  return head;
}

function starts(bytes: Uint8Array, magic: number[]): boolean {
  return magic.every((b, i) => bytes[i] === b);
}
