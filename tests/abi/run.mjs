// Drives the module by nothing but wasm/ABI.md: node run.mjs MODULE POLICY NDJSON OUT
// The policy is in canonical form. OUT gets the effects of each flush and at last the snapshot; standard output the
// module's SHA-256. run.py does the same, byte for byte.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

const CHUNK_BYTES = 65536;
const CHUNKS_PER_FLUSH = 16;
const HEADER_BYTES = 24;
const NO_ARRIVAL = -(2n ** 63n);

const [modulePath, policyPath, inputPath, outPath] = process.argv.slice(2);
const wasm = readFileSync(modulePath);
const module = new WebAssembly.Module(wasm);
if (WebAssembly.Module.imports(module).length > 0) throw new Error("the module imports something");
const abi = new WebAssembly.Instance(module, {}).exports;

// Any call may move memory, so the view is asked for anew each time.
const memory = () => new Uint8Array(abi.memory.buffer);
const read = (ptr, len) => memory().slice(ptr >>> 0, (ptr >>> 0) + (len >>> 0));
const must = (status, what) => {
  if (status !== 0) throw new Error(`${what}: ${-status}: ${Buffer.from(read(abi.plimsoll_error_ptr(), abi.plimsoll_error_len()))}`);
};

const policy = readFileSync(policyPath);
const at = abi.plimsoll_alloc(policy.length);
memory().set(policy, at >>> 0);
const handle = abi.plimsoll_open(at, policy.length);
must(Math.min(handle, 0), "open");
must(abi.plimsoll_free(at, policy.length), "free");

const out = [];
const output = () => out.push(read(abi.plimsoll_output_ptr(handle), abi.plimsoll_output_len(handle)));
const input = readFileSync(inputPath);
let [from, ordinal, chunks] = [0, 0n, 0];
while (from < input.length) {
  const newline = input.indexOf(10, Math.min(from + CHUNK_BYTES, input.length - 1));
  const to = newline < 0 ? input.length : newline + 1;
  const payload = input.subarray(from, to);
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(frame.buffer);
  frame[1] = 1;
  view.setUint32(4, payload.length, true);
  view.setBigUint64(8, ordinal, true);
  view.setBigInt64(16, NO_ARRIVAL, true);
  frame.set(payload, HEADER_BYTES);
  const ptr = abi.plimsoll_input(handle, frame.length);
  must(Math.min(ptr, 0), "input");
  memory().set(frame, ptr);
  must(abi.plimsoll_apply(handle, frame.length), "apply");
  for (const byte of payload) ordinal += byte === 10 ? 1n : 0n;
  from = to;
  chunks += 1;
  if (chunks % CHUNKS_PER_FLUSH === 0) {
    must(abi.plimsoll_flush(handle, 0), "flush");
    output();
  }
}
must(abi.plimsoll_flush(handle, 0), "flush");
output();
must(abi.plimsoll_snapshot(handle), "snapshot");
output();
must(abi.plimsoll_close(handle), "close");
writeFileSync(outPath, Buffer.concat(out));
console.log(createHash("sha256").update(wasm).digest("hex"));
