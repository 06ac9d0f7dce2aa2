"""Drives the module by nothing but wasm/ABI.md: python run.py MODULE POLICY NDJSON OUT

The policy is in canonical form. OUT gets the effects of each flush and at last the snapshot; standard output the
module's SHA-256. run.mjs does the same, byte for byte.
"""

import hashlib
import struct
import sys

from wasmtime import Engine, Instance, Module, Store

CHUNK_BYTES = 65536
CHUNKS_PER_FLUSH = 16
NO_ARRIVAL = -(2**63)

module_path, policy_path, input_path, out_path = sys.argv[1:]
with open(module_path, "rb") as file:
    wasm = file.read()
engine = Engine()
store = Store(engine)
module = Module(engine, wasm)
assert not module.imports, "the module imports something"
exports = Instance(store, module, []).exports(store)
memory = exports["memory"]


def call(name, *arguments):
    return exports["plimsoll_" + name](store, *arguments)


def read(ptr, length):
    start = ptr % 2**32
    return bytes(memory.read(store, start, start + length % 2**32))


def must(status, what):
    if status != 0:
        sys.exit(f"{what}: {-status}: {read(call('error_ptr'), call('error_len')).decode()}")


with open(policy_path, "rb") as file:
    policy = file.read()
ptr = call("alloc", len(policy))
memory.write(store, policy, ptr % 2**32)
handle = call("open", ptr, len(policy))
must(min(handle, 0), "open")
must(call("free", ptr, len(policy)), "free")

with open(input_path, "rb") as file:
    records = file.read()
with open(out_path, "wb") as out:

    def output():
        out.write(read(call("output_ptr", handle), call("output_len", handle)))

    start = ordinal = chunks = 0
    while start < len(records):
        newline = records.find(b"\n", min(start + CHUNK_BYTES, len(records) - 1))
        end = len(records) if newline < 0 else newline + 1
        payload = records[start:end]
        frame = struct.pack("<BBBBIQq", 0, 1, 0, 0, len(payload), ordinal, NO_ARRIVAL) + payload
        ptr = call("input", handle, len(frame))
        must(min(ptr, 0), "input")
        memory.write(store, frame, ptr)
        must(call("apply", handle, len(frame)), "apply")
        ordinal += payload.count(b"\n")
        start = end
        chunks += 1
        if chunks % CHUNKS_PER_FLUSH == 0:
            must(call("flush", handle, 0), "flush")
            output()
    must(call("flush", handle, 0), "flush")
    output()
    must(call("snapshot", handle), "snapshot")
    output()
must(call("close", handle), "close")
print(hashlib.sha256(wasm).hexdigest())
