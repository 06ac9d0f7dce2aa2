// Builds the package into dist/ and the page into ../target/plimsoll/page/, from what `plimsoll-builder build` made.
//
// Invariants
// - The two modules are copied byte for byte: the digest of the package's engine is that of the builder's.
// - Everything that the page needs lies in its folder; no script or style stands in the HTML (its CSP forbids them).

import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const products = join(here, "../target/plimsoll");
const dist = join(here, "dist");
const page = join(products, "page");

const glue = join(products, "bindings/plimsoll_bindings.js");
const modules = {
  "plimsoll.wasm": join(products, "plimsoll.wasm"),
  "plimsoll_bindings.wasm": join(products, "bindings/plimsoll_bindings_bg.wasm"),
};
for (const file of [glue, ...Object.values(modules)]) {
  if (!existsSync(file)) {
    console.error(`${file} is missing; build it first: cargo run --release -p plimsoll-builder -- build`);
    process.exit(1);
  }
}

const common = {
  bundle: true,
  format: "esm",
  target: ["es2022"],
  alias: { "#bindings": glue },
  external: ["node:*"],
  logLevel: "warning",
  absWorkingDir: here,
  legalComments: "none",
};

for (const folder of [dist, page]) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
}

const entries = ["slim", "browser", "node", "worker"].map((name) => `src/${name}.ts`);
await build({ ...common, entryPoints: entries, outdir: dist, splitting: true, platform: "neutral", chunkNames: "chunk-[hash]" });
// One self-contained file: a worker's imports would need paths that bundlers move.
await build({ ...common, entryPoints: ["src/worker-script.ts"], outdir: dist, platform: "browser" });
execFileSync(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.types.json"], { cwd: here, stdio: "inherit" });

await build({ ...common, entryPoints: { page: "page/main.ts" }, outdir: page, platform: "browser", minify: true });
await build({ ...common, entryPoints: { worker: "src/worker-script.ts" }, outdir: page, platform: "browser", minify: true });
await build({ ...common, entryPoints: { style: "page/style.css" }, outdir: page, minify: true });
copyFileSync(join(here, "../core/policy.schema.json"), join(dist, "policy.schema.json"));
for (const name of ["index.html", "plimsoll.svg"]) copyFileSync(join(here, "page", name), join(page, name));
for (const [name, from] of Object.entries(modules)) {
  copyFileSync(from, join(dist, name));
  copyFileSync(from, join(page, name));
}
