#!/usr/bin/env bash
# Plimsoll beside what else one would use for the job, on the same work: ratios, and rows that are checked.
#
#   .ci/bench.sh            DuckDB, Polars and the limit (a program written by hand for this one query); one million events
#
# PEERS="batch flink" adds Flink (Java 17); QUERIES="w1 q5 q11 q12", ROUNDS=3 and SIZE=1000000 are the defaults. No figure holds for another
# machine; the ratios of one run nearly do. Everything is kept under target/bench, which may be removed.
set -euo pipefail
name=bench
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

dir=$root/target/bench here=$root/tests/bench
plimsoll=${CARGO_TARGET_DIR:-$root/target}/release/plimsoll
peers="plimsoll plimsoll-native plimsoll-framed plimsoll-sqlite limit-strict limit-spec limit-serde"
for group in ${PEERS:-batch}; do
  case $group in
    batch) peers+=" duckdb polars" ;;
    flink) peers+=" flink" ;;
    *) fail "PEERS: found '$group', expected batch or flink" ;;
  esac
done
size=${SIZE:-1000000} rounds=${ROUNDS:-3}
mkdir -p "$dir"
"$here/setup.sh" "$dir"
limit=$dir/limit/release/limit
"$here/mkdata.sh" "$dir/venvs/batch/bin/python" "$limit" "$dir/data" 1000 "$size"

# Two cores that this process may use; on a machine with one, both are the same.
allowed=$(taskset -cp $$ | sed 's/.*: //' | tr , '\n' | awk -F- '{ for (i = $1; i <= ($2 == "" ? $1 : $2); i++) print i }')
first=$(head -n 1 <<<"$allowed") second=$(tail -n 1 <<<"$allowed")
log=$dir/results.jsonl
rm -f "$log"
failed=0
for query in ${QUERIES:-w1 q5 q11 q12}; do
  cores="1 2" some=$peers
  # Nothing is late in the bids, and they are for one core: the module, the limit and those who compute all of it.
  [ "$query" = w1 ] || { cores=1 some=; for p in $peers; do case $p in plimsoll|plimsoll-native|limit-strict|duckdb|polars|flink) some+=" $p" ;; esac; done; }
  for n in 1000 "$size"; do
    # shellcheck disable=SC2086 # several peers, one or two numbers of cores
    "$here/bench.py" --plimsoll "$plimsoll" --venvs "$dir/venvs" --limit "$limit" --data "$dir/data" --out "$dir/out" \
      --log "$log" --query "$query" --size "$n" --rounds "$rounds" --cores $cores --pin1 "$first" --pin2 "$first,$second" \
      --peers $some --check || failed=1
  done
done
"$here/bench.py" --table "$log"
exit "$failed"
