#!/usr/bin/env bash
# Plimsoll beside what else one would use for the job, on the same work: ratios, and rows that are checked.
#
#   .ci/bench.sh            DuckDB, Polars and the limit (a program written by hand for this one query); one million events
#
# PEERS="batch flink" adds Flink (Java 17), ROUNDS=3 and SIZE=1000000 are the defaults. No figure holds for another
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
for n in 1000 "$size"; do
  # shellcheck disable=SC2086 # several peers
  "$here/bench.py" --plimsoll "$plimsoll" --venvs "$dir/venvs" --limit "$limit" --data "$dir/data" --out "$dir/out" \
    --log "$log" --size "$n" --rounds "$rounds" --pin1 "$first" --pin2 "$first,$second" --peers $peers --check || failed=1
done
"$here/bench.py" --table "$log"
exit "$failed"
