#!/usr/bin/env bash
# Make .venv from the hashed lock. Needs Python 3.11+ alone: uv comes from PATH or, as a wheel, into .tools/uv.
set -euo pipefail
cd "$(dirname "$0")/.."
UV_VERSION=0.13.9

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 2; }

python=$(command -v python3 || true)
[ -n "$python" ] || fail "python3 is not on PATH; expected Python 3.11 or newer, install it and run make again"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$("$python" --version 2>&1) is too old; expected Python 3.11 or newer"

began=$(date +%s)
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
  uv=.tools/uv/bin/uv
  if [ ! -x "$uv" ]; then
    say "getting uv $UV_VERSION"
    rm -rf .tools/uv.part && mkdir -p .tools
    if "$python" -m pip --version >/dev/null 2>&1; then
      "$python" -m pip install --quiet --disable-pip-version-check --target .tools/uv.part "uv==$UV_VERSION"
    else
      "$python" -m venv .tools/pip-venv >/dev/null 2>&1 \
        || fail "neither pip nor venv works with $python; install one (on Debian: python3-venv), or put uv on PATH"
      .tools/pip-venv/bin/python -m pip install --quiet --disable-pip-version-check --target .tools/uv.part "uv==$UV_VERSION"
    fi
    rm -rf .tools/uv && mv .tools/uv.part .tools/uv
  fi
fi

say "making .venv"
[ -x .venv/bin/python ] || "$uv" venv --quiet --python "$python" .venv
"$uv" pip sync --quiet --require-hashes --python .venv/bin/python requirements.txt
"$uv" pip install --quiet --no-deps --no-build-isolation --offline --python .venv/bin/python -e .
touch .venv/.ready
say ".venv ready after $(($(date +%s) - began)) s"
