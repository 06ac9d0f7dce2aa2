#!/usr/bin/env bash
# Runs the fuzz targets of core/fuzz for FUZZ_SECONDS (60) each, two side by side, beginning with the corpus in the repository.
#
#   .ci/fuzz.sh             all of them
#   .ci/fuzz.sh records     some of them
#
# The compiler is the one of everything else: it counts branches when it is asked to, and libFuzzer, which comes as a crate,
# makes inputs of what they reach. What is found is left in target/fuzz/<target>, and the run fails.
set -euo pipefail
name=fuzz
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=${FUZZ_SECONDS:-60}
fuzz=$root/core/fuzz
export CARGO_TARGET_DIR=$root/target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

# Called by xargs below, one process a target.
if [ "${1:-}" = --one ]; then
  target=$2
  grown=$CARGO_TARGET_DIR/$target/corpus found=$CARGO_TARGET_DIR/$target
  mkdir -p "$grown"
  # New inputs go to the first folder, so that the repository stays as it is.
  "$CARGO_TARGET_DIR/$host/release/$target" "$grown" "$fuzz/corpus/$target" -dict="$fuzz/words.dict" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 \
    -artifact_prefix="$found/" >"$found/log" 2>&1 ||
    { tail -n 40 "$found/log" >&2; fail "$target found something: the input is in $found, and runs again with core/fuzz's $target <input>"; }
  say "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$found/log") inputs in $seconds s, nothing found"
  exit
fi

[ $# -gt 0 ] || { mapfile -t targets < <(cd "$fuzz/fuzz_targets" && printf '%s\n' *.rs | sed 's/\.rs$//'); set -- "${targets[@]}"; }
command -v c++ >/dev/null || apt_or_fail "a C++ compiler" "g++"
# Counters in every branch and at every comparison; one unit a crate, since the linker must keep them beside their table.
passes=sanitizer-coverage
export RUSTFLAGS="-Cpasses=sancov-module -Ccodegen-units=1 --cfg fuzzing"
for arg in level=4 inline-8bit-counters pc-table trace-compares; do RUSTFLAGS+=" -Cllvm-args=-$passes-$arg"; done
# A target is named, so that build scripts and macros go without them.
"${CARGO:-cargo}" build --release --locked --quiet --manifest-path "$fuzz/Cargo.toml" --target "$host"
printf '%s\n' "$@" | xargs -P 2 -I {} "$root/.ci/fuzz.sh" --one {}
