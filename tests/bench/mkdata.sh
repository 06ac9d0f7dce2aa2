#!/usr/bin/env bash
# mkdata.sh PYTHON LIMIT DATA [SIZE...]     so many events of W1 and of bids, and what must come out of each query, under DATA
#
# PYTHON must have NumPy. The same arguments give the same bytes; files that are there are left alone.
set -euo pipefail
python=$1 limit=$2 data=$3; shift 3
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$data/ref"
for n in "$@"; do
  for query in w1 q5 q11 q12; do
    kind=bids; [ "$query" = w1 ] && kind=w1
    in=$data/$kind-$n.ndjson
    [ -f "$data/ref/$query-$n.strict.ndjson" ] && [ -d "$data/$kind-$n.rr2" ] && continue
    if [ ! -d "$data/$kind-$n.rr2" ]; then
      # Without clocks that run ahead: a plain watermark would throw nearly all away.
      future=; [ "$kind" = w1 ] && future="--future 0"
      # shellcheck disable=SC2086 # an option and its value, or nothing
      "$python" "$here/gen.py" "$kind" "$n" "$in" $future
      # Lines dealt in turn to two files: what two shards would carry. In pieces as large as those of the whole file, since
      # the pages of a file that was written line by line take its readers longer.
      rm -rf "$data/$kind-$n.part"; mkdir "$data/$kind-$n.part"
      split -n r/2 -d -a 1 --additional-suffix=.ndjson --filter='dd of="$FILE" bs=4M iflag=fullblock status=none' \
        "$in" "$data/$kind-$n.part/part-"
      mv "$data/$kind-$n.part" "$data/$kind-$n.rr2"
    fi
    "$limit" "$query" "$in" "$data/ref/$query-$n.ndjson" >/dev/null
    "$limit" "$query" "$in" "$data/ref/$query-$n.strict.ndjson" --late strict >/dev/null
  done
done
