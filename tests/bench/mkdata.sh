#!/usr/bin/env bash
# mkdata.sh PYTHON LIMIT DATA [SIZE...]     W1 of so many events and what must come out of it, under DATA
#
# PYTHON must have NumPy. The same arguments give the same bytes; files that are there are left alone.
set -euo pipefail
python=$1 limit=$2 data=$3; shift 3
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$data/ref"
for n in "$@"; do
  in=$data/w1-$n.ndjson
  [ -f "$data/ref/w1-$n.strict.ndjson" ] && [ -d "$data/w1-$n.rr2" ] && continue
  "$python" "$here/gen.py" w1 "$n" "$in" --future 0
  # Lines dealt in turn to two files: what two shards would carry.
  rm -rf "$data/w1-$n.rr2"; mkdir "$data/w1-$n.rr2"
  split -n r/2 -d -a 1 --additional-suffix=.ndjson "$in" "$data/w1-$n.rr2/part-"
  "$limit" w1 "$in" "$data/ref/w1-$n.ndjson" >/dev/null
  "$limit" w1 "$in" "$data/ref/w1-$n.strict.ndjson" --late strict >/dev/null
done
