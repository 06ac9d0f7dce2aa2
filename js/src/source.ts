// Gets the bytes of a WebAssembly file, and says what went wrong where it is not one.
//
// Invariants
// - What comes out begins with the magic word of WebAssembly.
// - A failure names the address that was tried and the mend for the likely bundler.
//
// Not here: compiling (`engine`, `bindings`).

import { PlimsollError, textOf } from "./error.js";

/** Where a WebAssembly file comes from. */
export type WasmSource = string | URL | Request | Response | BufferSource | Promise<Response | BufferSource>;

/** Reads a `file:` address; only Node has one. */
export type FileReader = (url: URL) => Promise<Uint8Array<ArrayBuffer>>;

let fileReader: FileReader | undefined;

/** Hands in how files are read. */
export function readFilesWith(reader: FileReader): void {
  fileReader = reader;
}

/** The bytes behind `source`; `file` is the package's name of it, for messages. */
export async function bytesOf(source: WasmSource, file: string): Promise<Uint8Array<ArrayBuffer>> {
  const given = await source;
  if (given instanceof ArrayBuffer || ArrayBuffer.isView(given)) {
    const bytes = given instanceof ArrayBuffer ? new Uint8Array(given) : new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
    // A copy: whoever handed it over may go on writing to it, and what is hashed must be what is compiled.
    return checked(bytes.slice(), file, "the given bytes");
  }
  if (given instanceof Response) return fromResponse(given, file);
  const base = typeof document === "undefined" ? undefined : document.baseURI;
  const url = given instanceof Request ? new URL(given.url) : asUrl(given, base, file);
  if (url.protocol === "file:") {
    if (!fileReader) {
      throw new PlimsollError("load", `${file}: a browser does not read ${url.href}; serve the folder over HTTP, for example with \`npx http-server\` or \`python3 -m http.server\``);
    }
    try {
      return checked(await fileReader(url), file, url.href);
    } catch (e) {
      if (e instanceof PlimsollError) throw e;
      throw new PlimsollError("load", `${file}: ${url.href} could not be read: ${textOf(e)}`, { cause: e });
    }
  }
  let response: Response;
  try {
    response = await fetch(given instanceof Request ? given : url);
  } catch (e) {
    throw new PlimsollError("load", `${file}: ${url.href} could not be fetched (${textOf(e)}); is the server running, and does the page's connect-src allow it?`, { cause: e });
  }
  return fromResponse(response, file);
}

function asUrl(given: string | URL, base: string | undefined, file: string): URL {
  try {
    return new URL(given, base);
  } catch (e) {
    throw new PlimsollError("load", `${file}: \`${given}\` is no absolute address; pass a URL, bytes or a Response`, { cause: e });
  }
}

async function fromResponse(response: Response, file: string): Promise<Uint8Array<ArrayBuffer>> {
  const at = response.url || "the given response";
  if (!response.ok) {
    throw new PlimsollError("load", `${file}: ${at} answered ${response.status}. ${mend(file)}`);
  }
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = new Uint8Array(await response.arrayBuffer());
  } catch (e) {
    throw new PlimsollError("load", `${file}: ${at} broke off while it was read (${textOf(e)}); try again`, { cause: e });
  }
  return checked(bytes, file, at);
}

function checked(bytes: Uint8Array<ArrayBuffer>, file: string, at: string): Uint8Array<ArrayBuffer> {
  if (bytes[0] === 0 && bytes[1] === 0x61 && bytes[2] === 0x73 && bytes[3] === 0x6d) return bytes;
  if (bytes.length === 0) throw new PlimsollError("load", `${file}: ${at} is empty, expected WebAssembly`);
  const found = bytes[0] === 0x3c ? "an HTML page" : `bytes ${[...bytes.subarray(0, 4)].map((b) => b.toString(16).padStart(2, "0")).join(" ")}`;
  throw new PlimsollError("load", `${file}: expected WebAssembly (00 61 73 6d) from ${at}, found ${found}. ${mend(file)}`);
}

function mend(file: string): string {
  return (
    `The bundler or server did not bring the file along. Vite 5 to 7: \`import wasm from "plimsoll/${file}?url"\` and pass it to \`load\`, or ` +
    `\`optimizeDeps: { exclude: ["plimsoll"] }\`. esbuild: \`import wasm from "plimsoll/${file}"\` with \`--loader:.wasm=file\`, then ` +
    "`load(new URL(wasm, import.meta.url))`. Otherwise copy it beside the script."
  );
}
