#!/usr/bin/env bash
# Brings the outside tools of the end-to-end tests into target/tools/, pinned, and only if they are not there yet.
#
#   .ci/tools.sh            everything
#   .ci/tools.sh npm        kinesalite, kinesis-local (Kinesis on loopback), playwright-core (drives Chromium)   -> target/tools/npm
#   .ci/tools.sh python     ministack (DynamoDB and others on loopback), wasmtime for Python      -> target/tools/venv
#   .ci/tools.sh browser    Chromium from Debian, unless one is there or CHROMIUM names one
#
# A part is installed again only when its list in .ci/tools/ changed. Two runs at once wait for each other.
# PLIMSOLL_TOOLS names another folder than target/tools.
set -euo pipefail

name=tools
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

lists=$root/.ci/tools
tools=${PLIMSOLL_TOOLS:-$root/target/tools}
mkdir -p "$tools"

npm_part() {
  local list=("$lists/package.json" "$lists/package-lock.json")
  if fresh "$tools/npm/.stamp" "${list[@]}"; then return; fi
  need_node
  say "installing kinesalite, kinesis-local and playwright-core from npm (about 10 s)"
  rm -rf "$tools/npm"
  mkdir -p "$tools/npm"
  cp "${list[@]}" "$tools/npm/"
  # No install scripts: every package here works without its own.
  (cd "$tools/npm" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) || fail "npm could not install the tools"
  stamp "$tools/npm/.stamp" "${list[@]}"
}

python_part() {
  local list=("$lists/requirements.txt")
  if fresh "$tools/venv/.stamp" "${list[@]}" && "$tools/venv/bin/python" -c '' 2>/dev/null; then return; fi
  command -v python3 >/dev/null || apt_or_fail "Python 3" "python3 python3-venv"
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_or_fail "Python's venv" "python3-venv"
  say "installing ministack and wasmtime from PyPI (about 15 s)"
  rm -rf "$tools/venv"
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "${list[0]}" ||
    fail "pip could not install the tools"
  stamp "$tools/venv/.stamp" "${list[@]}"
}

browser_part() {
  if [ -n "${CHROMIUM:-}" ]; then
    [ -x "$CHROMIUM" ] || fail "CHROMIUM names $CHROMIUM, which is not a program"
    return
  fi
  for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then return; fi
  done
  apt_or_fail "Chromium" "chromium fonts-dejavu-core"
}

if command -v flock >/dev/null; then
  exec 9>"$tools/.lock"
  flock -n 9 || { say "waiting for another run"; flock 9; }
fi
[ $# -gt 0 ] || set -- npm python browser
for part in "$@"; do
  case $part in
    npm) npm_part ;;
    python) python_part ;;
    browser) browser_part ;;
    *) fail "there is no part '$part'; there are: npm, python, browser" ;;
  esac
done
