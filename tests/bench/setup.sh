#!/usr/bin/env bash
# setup.sh DIR     the peers: virtual environments under DIR/venvs, the limit program under DIR/limit
#
# PEERS="batch" (the default) is DuckDB and Polars; PEERS="batch flink" adds Flink, which wants Java 17 and 2 GB.
# Python 3.11 by PY=...; nothing is installed twice.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$1 py=${PY:-python3}
fail() { printf 'bench: %s\n' "$*" >&2; exit 1; }

command -v "$py" >/dev/null || fail "$py is missing; install Python 3.11 or newer, or name one by PY=..."
make_venv() {
  local name=$1 venv=$dir/venvs/$1; shift
  case " ${PEERS:-batch} " in *" $name "*) ;; *) return 0 ;; esac
  [ "$(cat "$venv/.packages" 2>/dev/null)" = "$*" ] && return 0
  printf 'bench: installing %s\n' "$*"
  "$py" -m venv "$venv" || fail "$py cannot make virtual environments; on Debian: apt-get install python3-venv"
  "$venv/bin/pip" install --quiet "$@" || fail "pip could not install $*"
  printf '%s' "$*" >"$venv/.packages"
}
mkdir -p "$dir/venvs"
make_venv batch duckdb==2.0.0 polars==2.1.0 numpy==2.4.6
make_venv flink apache-flink==2.3.0
case " ${PEERS:-batch} " in
  *" flink "*) command -v java >/dev/null || fail "Java is missing, which Flink needs; on Debian: apt-get install openjdk-17-jre-headless" ;;
esac
CARGO_TARGET_DIR=$dir/limit "${CARGO:-cargo}" build --quiet --release --manifest-path "$here/limit/Cargo.toml"
