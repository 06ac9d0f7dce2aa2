#!/usr/bin/env python3
"""Runs Plimsoll and the programs that others would use for the same job side by side, and prints the ratios.

  bench.py --plimsoll BIN --venvs V --limit BIN --data D --out O --log results.jsonl [--rounds 3] [--size 1000000]
           [--query w1] [--peers duckdb ...] [--cores 1 2] [--check]
  bench.py --table results.jsonl

A round runs every chosen configuration once, in an order that changes with the round. Each run is pinned with taskset
(1 core: --pin1, 2 cores: --pin2), and sampled every 20 ms over its whole process tree (a JVM or a worker that a Python
parent starts is counted): CPU seconds, and the peak of the summed resident memory. `rate` is the runner's own last
line (events/s of wall time, without start-up). CPU seconds hardly depend on what else the machine is doing, so on a
busy machine compare events per CPU second; a run with --size 1000 into the same log gives the start-up's CPU, which
the table subtracts. --check compares each output with the reference (compare.py) and fails if one differs.
"""
import argparse, json, os, random, shutil, statistics, subprocess, sys, tempfile, threading, time
from collections import defaultdict

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")

# What must be reached: (query, what, ours, theirs, measure, factor). By CPU: events per CPU second without start-up.
GOALS = [
    ("w1", "module / DuckDB", ("plimsoll", 1), ("duckdb", 1), "cpu", 1.4),
    ("w1", "module / limit", ("plimsoll", 1), ("limit-strict", 1), "cpu", 0.6),
    ("w1", "module / Flink", ("plimsoll", 1), ("flink", 1), "cpu", 8),
    ("w1", "native / limit", ("plimsoll-native", 1), ("limit-strict", 1), "cpu", 0.8),
    ("w1", "module / native", ("plimsoll", 1), ("plimsoll-native", 1), "cpu", 0.65),
    ("w1", "framed one by one / file", ("plimsoll-framed", 1), ("plimsoll", 1), "cpu", 0.85),
    ("w1", "into SQLite / rows alone", ("plimsoll-sqlite", 1), ("plimsoll", 1), "cpu", 0.5),
    ("w1", "two lanes on two cores / one", ("plimsoll", 2), ("plimsoll", 1), "wall", 1.8),
    ("q5", "module / DuckDB", ("plimsoll", 1), ("duckdb", 1), "cpu", 1.2),
    ("q5", "module / limit", ("plimsoll", 1), ("limit-strict", 1), "cpu", 0.5),
    ("q11", "module / Polars", ("plimsoll", 1), ("polars", 1), "cpu", 2),
    ("q11", "module / limit", ("plimsoll", 1), ("limit-strict", 1), "cpu", 0.4),
    ("q12", "module / DuckDB", ("plimsoll", 1), ("duckdb", 1), "cpu", 1.1),
    ("q12", "module / limit", ("plimsoll", 1), ("limit-strict", 1), "cpu", 0.4),
]
PEAK_MB_MAX = 64


def peers(a):
    py = lambda v: f"{a.venvs}/{v}/bin/python"
    r = lambda f: os.path.join(HERE, f)
    J = ["--par", "{c}"]
    ours = [a.plimsoll, "bench"]
    # name: (command up to the query, input kind for 1 and 2 cores, extra arguments, late rows dropped?)
    return {
        "plimsoll": (ours, ("f", "rr2"), [], True),
        "plimsoll-native": (ours, ("f", None), ["--native"], True),
        "plimsoll-framed": (ours, ("f", None), ["--framed"], True),
        "plimsoll-sqlite": (ours, ("f", None), ["--sqlite", "{out}.db"], True),
        "limit-serde": ([a.limit], ("f", "f"), ["--threads", "{c}"], False),
        "limit-spec": ([a.limit], ("f", "f"), ["--threads", "{c}", "--parser", "spec"], False),
        "limit-strict": ([a.limit], ("f", None), ["--parser", "spec", "--late", "strict"], True),
        "duckdb": ([py("batch"), r("run_duckdb.py")], ("f", "f"), J, False),
        "polars": ([py("batch"), r("run_polars.py")], ("f", "f"), J, False),
        "flink": ([py("flink"), r("run_flink.py")], ("f", "rr2"), J, True),
    }


def tree(root):
    """pids of root's session (the runner is started in its own)"""
    out = []
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                with open(f"/proc/{p}/stat") as f:
                    s = f.read().rsplit(")", 1)[1].split()
                if int(s[3]) == root:
                    out.append((int(p), (int(s[11]) + int(s[12])) / TICK, (int(s[13]) + int(s[14])) / TICK, int(s[21]) * 4096))
            except (OSError, IndexError):
                pass
    return out


def run(cmd, cpus, limit_s, size):
    t = time.monotonic()
    with tempfile.TemporaryFile("w+") as err:
        p = subprocess.Popen(["taskset", "-c", cpus] + cmd, stdout=subprocess.PIPE, stderr=err, text=True, start_new_session=True,
                             env={**os.environ, "PEER_EVENTS": str(size)})
        cpu, peak, last = {}, 0, 0
        buf = []
        th = threading.Thread(target=lambda: buf.extend(p.stdout)); th.start()
        while True:
            tr = tree(p.pid)
            peak = max(peak, sum(x[3] for x in tr))
            for pid, c, _, _ in tr:
                cpu[pid] = c
            if time.monotonic() - t > limit_s:
                os.killpg(p.pid, 9)
            # wait4 gives the parent's exact figure, with the children it waited for
            pid, st, ru = os.wait4(p.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.02)
        wall = time.monotonic() - t
        p.returncode = os.waitstatus_to_exitcode(st)
        th.join()
        own = ru.ru_utime + ru.ru_stime
        # sampled sum of all processes seen, or the exact figure of parent + waited children, whichever is more
        total = max(own, sum(v for k, v in cpu.items() if k != p.pid) + cpu.get(p.pid, 0))
        lines = [l.strip() for l in buf if l.strip()]
        err.seek(0)
        return p.returncode, wall, total, max(peak, ru.ru_maxrss * 1024), lines, err.read()[-800:]


def kind(query):
    """Which events a query reads."""
    return "w1" if query == "w1" else "bids"


def warm(path):
    """Reads an input before a run: otherwise some runs pay for the disk, and on a virtual machine for memory that its host
    has taken back, which was half of a run."""
    files = [path] if os.path.isfile(path) else [os.path.join(path, f) for f in os.listdir(path)]
    for file in files:
        with open(file, "rb") as data:
            while data.read(1 << 20):
                pass


def one(name, peer, cores, rnd, a):
    """One run of one configuration, as a record of the log."""
    base, forms, extra, late = peer
    form, query = forms[cores - 1], a.query
    data = f"{a.data}/{kind(query)}-{a.size}"
    inp = data + (".ndjson" if form == "f" else "." + form)
    out = f"{a.out}/{name}-{query}-{cores}"
    warm(inp)
    for old in (out, out + ".db", out + ".db-wal", out + ".db-shm"):
        shutil.rmtree(old, ignore_errors=True)
        if os.path.isfile(old):
            os.remove(old)
    extra = [x.format(c=cores, out=out) for x in extra]
    if name == "plimsoll" and form == "rr2":
        inp, extra = inp + "/*.ndjson", extra + ["--lane-per-file"]
    pin = a.pin1 if cores == 1 else a.pin2
    rc, wall, cpu, peak, lines, err = run(base + [query, inp, out] + extra, pin, a.limit_s, a.size)
    r = {"peer": name, "query": query, "cores": cores, "size": a.size, "round": rnd, "rc": rc, "wall": round(wall, 3), "cpu_s": round(cpu, 3),
         "peak_mb": round(peak / 1e6, 1), "load": round(os.getloadavg()[0], 1)}
    try:
        r["rate"] = int(lines[-1])
        d = json.loads(lines[-2])
        r.update({k: d[k] for k in ("setup_s", "run_s", "job_s", "version") if k in d})
        if extra[:1] == ["--sqlite"]:
            # Without the copying of the rows out of SQLite, which is there to check them.
            r["cpu_s"] = d["cpu_s"]
    except (ValueError, IndexError):
        r["error"] = err
    if a.check and rc == 0:
        cmp = [sys.executable, os.path.join(HERE, "compare.py"), query, f"{a.data}/ref/{query}-{a.size}.ndjson", out]
        if late:
            cmp += ["--strict", f"{a.data}/ref/{query}-{a.size}.strict.ndjson"]
        k = subprocess.run(cmp, capture_output=True, text=True)
        o = [json.loads(x) for x in k.stdout.splitlines() if x.startswith("{")]
        r["check"] = "equal" if o and o[0]["equal"] else "bracket" if k.returncode == 0 else "DIFFERS"
        r["dropped_pct"] = o[0]["dropped_pct"] if o else None
    return r


def main():
    p = argparse.ArgumentParser()
    for k in ("plimsoll", "venvs", "limit", "data", "out", "log"):
        p.add_argument("--" + k)
    p.add_argument("--rounds", type=int, default=3); p.add_argument("--size", type=int, default=1_000_000)
    p.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    p.add_argument("--peers", nargs="+"); p.add_argument("--check", action="store_true")
    p.add_argument("--pin1", default="0"); p.add_argument("--pin2", default="0,1"); p.add_argument("--limit-s", type=int, default=580)
    p.add_argument("--table"); p.add_argument("--query", default="w1", choices=["w1", "q5", "q11", "q12"])
    a = p.parse_args()
    if a.table:
        return table(a.table)
    P = peers(a)
    os.makedirs(a.out, exist_ok=True)
    conf = [(n, c) for n in (a.peers or P) for c in a.cores if P[n][1][c - 1]]
    bad = []
    for rnd in range(a.rounds):
        random.Random(rnd).shuffle(conf)
        for n, c in conf:
            r = one(n, P[n], c, rnd, a)
            print(json.dumps(r), flush=True)
            if a.log:
                with open(a.log, "a") as f:
                    f.write(json.dumps(r) + "\n")
            if r["rc"] or "error" in r or r.get("check") == "DIFFERS":
                bad.append(f"{n} on {c} cores, round {rnd}")
    if bad:
        sys.exit("bench: failed or gave other rows: " + "; ".join(bad))


def table(log):
    """A line a configuration (medians), then the ratios beside their goals."""
    g = defaultdict(dict)
    for l in open(log):
        r = json.loads(l)
        if r["rc"] == 0 and "rate" in r:
            g[r["query"], r["peer"], r["cores"], r["size"]][r["round"]] = r
    m = lambda rs, k: statistics.median(x[k] for x in rs.values())
    start = {k[:3]: m(v, "cpu_s") for k, v in g.items() if k[3] == 1000}
    big = {k: v for k, v in g.items() if k[3] != 1000}
    cpu = lambda r: max(0.001, r["cpu_s"] - start.get((r["query"], r["peer"], r["cores"]), 0))
    print("| query | program | cores | events | runs | events/s by wall, best | start-up CPU s | events per CPU s | peak MB | rows | load |")
    print("|---" * 11 + "|")
    for (q, p, c, n), v in sorted(big.items()):
        rows = "/".join(sorted({x["check"] for x in v.values() if x.get("check")}))
        print(f"| {q} | {p} | {c} | {n:,} | {len(v)} | {max(x['rate'] for x in v.values()):,} | {start.get((q, p, c), 0):.2f} "
              f"| {n / statistics.median(map(cpu, v.values())):,.0f} | {m(v, 'peak_mb'):.0f} | {rows} | {min(x['load'] for x in v.values()):.1f} |")
    print("\n| ratio | found | rounds | goal | |\n|---|---|---|---|---|")
    for query, what, ours, theirs, by, goal in GOALS:
        for n in sorted({k[3] for k in big}):
            x, y = big.get((query, *ours, n)), big.get((query, *theirs, n))
            rounds = sorted(set(x or {}) & set(y or {}))
            if not rounds:
                continue
            # Within a round, so that both saw about the same machine.
            q = [(x[i]["rate"] / y[i]["rate"]) if by == "wall" else cpu(y[i]) / cpu(x[i]) for i in rounds]
            f = statistics.median(q)
            print(f"| {query}: {what}, by {by}, {n:,} events | {f:.2f} | {min(q):.2f} to {max(q):.2f} | {goal} | {'reached' if f >= goal else 'MISSED'} |")
    for (q, p, c, n), v in sorted(big.items()):
        if p == "plimsoll" and c == 1 and q == "w1":
            mb = m(v, "peak_mb")
            print(f"| peak MB, {n:,} events | {mb:.0f} | | at most {PEAK_MB_MAX} | {'reached' if mb <= PEAK_MB_MAX else 'MISSED'} |")


main()
