# What the scripts of this folder share; sourced by them, after they have set `name`, which begins each of their lines.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s: %s\n' "$name" "$*"; }
fail() { printf '%s: %s\n' "$name" "$*" >&2; exit 1; }

is_root_on_debian() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# $1 in words is missing: installs Debian's packages $2, or says what to install.
apt_or_fail() {
  is_root_on_debian || fail "$1 is missing; install it (on Debian: sudo apt-get install $2) and run this again"
  say "$1 is missing: installing Debian's $2"
  local log=$root/target/apt.log
  mkdir -p "$root/target"
  # The package lists of a fresh machine are empty or old: refresh them when the first try finds nothing.
  # shellcheck disable=SC2086 # several packages
  apt_get install -y --no-install-recommends $2 >"$log" 2>&1 ||
    { apt_get update >>"$log" 2>&1 && apt_get install -y --no-install-recommends $2 >>"$log" 2>&1; } ||
    { tail -n 20 "$log" >&2; fail "apt-get could not install $2"; }
}
apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

# $1 is a stamp, the rest are files: true if the stamp was written for exactly these files.
fresh() { local stamp=$1; shift; [ -f "$stamp" ] && [ "$(cat "$@" | sha256sum)" = "$(cat "$stamp")" ]; }
stamp() { local stamp=$1; shift; cat "$@" | sha256sum >"$stamp"; }

# Fails unless Node.js is there and new enough for the tools that are used.
need_node() {
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then apt_or_fail "Node.js" "nodejs npm"; fi
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "Node.js $(node --version) is too old; install 20.19 or newer from https://nodejs.org"
}
