// The package for Node: the files lie beside this script and are read from disk, since fetch refuses `file:`.

import { readFile } from "node:fs/promises";
import { defaultSources } from "./runtime.js";
import { readFilesWith } from "./source.js";

readFilesWith(async (url) => new Uint8Array(await readFile(url)));
defaultSources(() => ({
  engine: new URL("./plimsoll.wasm", import.meta.url),
  bindings: new URL("./plimsoll_bindings.wasm", import.meta.url),
}));

export * from "./slim.js";
