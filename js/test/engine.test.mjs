// Modules that are not what they should be: made by hand, byte by byte. Each test loads a package of its own.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { POLICY, dist, pathOf } from "./help.mjs";

/** A copy of the package with nothing loaded yet: what is loaded once per script is loaded anew. */
async function fresh() {
  const folder = mkdtempSync(join(tmpdir(), "plimsoll-"));
  after(() => rmSync(folder, { recursive: true }));
  cpSync(fileURLToPath(dist("")), folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  return import(pathToFileURL(join(folder, "slim.js")).href);
}

const u = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...u(n >>> 7)]);
const name = (s) => [...u(s.length), ...Buffer.from(s)];
const section = (id, body) => [id, ...u(body.length), ...body];
const list = (items) => [...u(items.length), ...items.flat()];

const EXPORTS = [
  "abi_version", "alloc", "free", "open", "restore", "input", "apply", "pending", "flush", "panes", "snapshot", "describe",
  "output_ptr", "output_len", "error_ptr", "error_len", "panic_ptr", "close",
];
const PARAMETERS = [0, 1, 2, 2, 4, 2, 2, 1, 2, 1, 1, 1, 1, 1, 0, 0, 0, 1];
const DESCRIPTION = '{"version":"9.9.9"}';
const PANIC = "index out of bounds, said by hand";

/** A module of the ABI's shape; `bodies` replaces a function's code. */
function module(bodies = {}, { imports = [], leave = [] } = {}) {
  const constant = (n) => [0x41, ...sleb(n)];
  const code = {
    abi_version: constant(1), alloc: constant(4096), free: constant(0), open: constant(1), restore: constant(1), input: constant(8192),
    apply: constant(0), pending: constant(0), flush: constant(0), panes: constant(0), snapshot: constant(0), describe: constant(0),
    output_ptr: constant(1024), output_len: constant(DESCRIPTION.length), error_ptr: constant(0), error_len: constant(0),
    panic_ptr: constant(2048), close: constant(0), ...bodies,
  };
  const kept = EXPORTS.filter((e) => !leave.includes(e));
  const types = [0, 1, 2, 3, 4].map((n) => [0x60, ...list(Array.from({ length: n }, () => [0x7f])), 1, 0x7f]);
  const panic = [...new Uint8Array(new Uint32Array([PANIC.length]).buffer), ...Buffer.from(PANIC)];
  const data = [[1024, [...Buffer.from(DESCRIPTION)]], [2048, panic]].map(([at, bytes]) => [0, ...constant(at), 0x0b, ...list(bytes.map((b) => [b]))]);
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, list(types)),
    ...(imports.length ? section(2, list(imports.map((i) => [...name("env"), ...name(i), 0, 0]))) : []),
    ...section(3, list(EXPORTS.map((_, i) => [PARAMETERS[i]]))),
    ...section(5, list([[0, 1]])),
    ...section(7, list([[...name("memory"), 2, 0], ...kept.map((e) => [...name(`plimsoll_${e}`), 0, ...u(EXPORTS.indexOf(e) + imports.length)])])),
    ...section(10, list(EXPORTS.map((e) => { const body = [0, ...code[e], 0x0b]; return [...u(body.length), ...body]; }))),
    ...section(11, list(data)),
  ]);
}

function sleb(n) {
  const low = n & 127;
  const rest = n >> 7;
  return (rest === 0 && !(low & 64)) || (rest === -1 && low & 64) ? [low] : [low | 128, ...sleb(rest)];
}

const bindings = readFileSync(pathOf("plimsoll_bindings.wasm"));
const UNREACHABLE = [0x00, 0x41, 0];

test("a trap voids the preview, gives the panic's text, and another preview is not touched", async () => {
  const { Preview, load } = await fresh();
  const info = await load({ engine: module({ apply: UNREACHABLE }), bindings });
  assert.equal(info.version, "9.9.9");
  const p = await Preview.create(POLICY);
  const other = await Preview.create(POLICY);
  for (const use of [() => p.pushNdjson("{}\n"), () => p.rows(), () => p.account]) {
    assert.throws(use, (e) => e.code === "trap" && e.message.includes(PANIC) && e.message.includes("apply"));
  }
  p.dispose();
  assert.deepEqual(other.rows(), []);
});

test("effects that are none end the preview", async () => {
  const { Preview, load } = await fresh();
  await load({ engine: module(), bindings });
  const p = await Preview.create(POLICY);
  assert.throws(() => p.end(), (e) => e.code === "input" && /effects/.test(e.message));
  assert.throws(() => p.rows(), /effects/);
});

test("what is no engine is refused with its reason", async () => {
  const { load } = await fresh();
  const refuses = (engine, code, pattern) =>
    assert.rejects(load({ engine, bindings }), (e) => {
      assert.equal(e.code, code, e.message);
      assert.match(e.message, pattern);
      return true;
    });
  await refuses(module({ abi_version: [0x41, 2] }), "version", /ABI 2.*ABI 1/);
  await refuses(module({}, { imports: ["now"] }), "load", /imports `env\.now`/);
  await refuses(module({}, { leave: ["flush"] }), "load", /no export `plimsoll_flush`/);
  await refuses(module().subarray(0, 60), "load", /no valid WebAssembly/);
  await refuses(new TextEncoder().encode("<!DOCTYPE html>"), "load", /found an HTML page.*Vite/);
  await refuses(new Uint8Array(0), "load", /is empty/);
  await refuses("not an address", "load", /no absolute address/);
  await refuses(new URL("file:///nowhere.wasm"), "load", /does not read file:.*http/i);
  // A failed load is forgotten: the next one counts.
  const info = await load({ engine: readFileSync(pathOf("plimsoll.wasm")), bindings });
  assert.equal(info.sha256.length, 64);
});

test("answers that are no module speak", async (t) => {
  const server = createServer((request, response) => {
    response.writeHead(request.url === "/missing.wasm" ? 404 : 200, { "content-type": "text/html" });
    response.end("<!DOCTYPE html><title>app</title>");
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  t.after(() => server.close());
  const at = (path) => `http://127.0.0.1:${server.address().port}${path}`;
  const { load } = await fresh();
  await assert.rejects(load({ engine: at("/app.wasm"), bindings }), /HTML page.*optimizeDeps/);
  await assert.rejects(load({ engine: at("/missing.wasm"), bindings }), /missing\.wasm answered 404/);
  await assert.rejects(load(), /plimsoll\/slim knows no files/);
});

test("a bundler that drops what is unused keeps the files' addresses", async () => {
  for (const [platform, entry] of [["browser", "browser.js"], ["node", "node.js"]]) {
    const { outputFiles } = await build({
      stdin: { contents: 'import { load } from "plimsoll"; await load();', resolveDir: fileURLToPath(dist("")) },
      bundle: true, format: "esm", platform, treeShaking: true, write: false, conditions: [platform],
    });
    const text = outputFiles[0].text;
    assert.match(text, /new URL\("\.\/plimsoll\.wasm", import\.meta\.url\)/, entry);
    assert.equal(text.includes("node:fs"), platform === "node", entry);
  }
});
