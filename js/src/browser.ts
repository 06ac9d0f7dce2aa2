// The package for browsers and bundlers: the files lie beside this script.

import { defaultSources } from "./runtime.js";

// These two lines are the pattern that bundlers follow; they must stay static text.
defaultSources(() => ({
  engine: new URL("./plimsoll.wasm", import.meta.url),
  bindings: new URL("./plimsoll_bindings.wasm", import.meta.url),
}));

export * from "./slim.js";
