#!/usr/bin/env bash
# Make .venv from the hashed lock and touch the stamp given as $1. Needs Python 3.11 or newer, with pip or venv, and
# nothing else: uv comes from PATH or, as a wheel, into .tools/uv. Interrupted, it starts over from what is cached.
set -euo pipefail
cd "$(dirname "$0")/../.."
stamp=${1:?usage: bootstrap.sh STAMP}
uv_version=0.13.9
# The system's certificates, as for pip and Go: behind a company's proxy only they know its authority.
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1} UV_NATIVE_TLS=${UV_NATIVE_TLS:-1} # the latter for an older uv on PATH
export UV_PYTHON_DOWNLOADS=never PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 2; }

find_python() {
  local name
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  fail "found $(python3 --version 2>/dev/null || echo 'no python3') on PATH; expected Python 3.11 or newer, install it and run make again"
}

get_uv() {
  local part=".tools/uv.part.$$" installer="$python"
  say "getting uv $uv_version"
  mkdir -p .tools
  if ! "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear .tools/pip >/dev/null 2>&1 \
      || fail "$python has neither pip nor venv; install one of them (on Debian: python3-venv), or put uv on PATH"
    installer=.tools/pip/bin/python
  fi
  "$installer" -m pip install --quiet --target "$part" "uv==$uv_version" \
    || fail "uv $uv_version could not be installed with pip; see the line above, or put uv on PATH"
  rm -rf .tools/uv .tools/pip
  mv "$part" .tools/uv
}

[ -w . ] || fail "$PWD is not writable for $(id -un); clone the repository into a folder of your own"
began=$SECONDS
python=$(find_python)
uv=uv
if ! uv --version >/dev/null 2>&1; then
  uv=.tools/uv/bin/uv
  "$uv" --version 2>/dev/null | grep -q " $uv_version" || get_uv
fi
# The stamp is named after this folder: a virtual environment that was moved with its folder no longer works.
if [ ! -e "$stamp" ] || ! .venv/bin/python -c '' 2>/dev/null; then
  "$uv" venv --quiet --clear --python "$python" .venv
fi
quiet=--quiet
[ ! -t 1 ] || quiet=
say "installing $(grep -c '^[a-z0-9]' requirements.txt) locked packages into .venv"
"$uv" pip sync ${quiet:+"$quiet"} --require-hashes --python .venv/bin/python requirements.txt
"$uv" pip install --quiet --no-deps --no-build-isolation --offline --python .venv/bin/python -e .
touch "$stamp"
say ".venv ready after $((SECONDS - began)) s"
