#!/usr/bin/env bash
# Make a virtual environment from a pinned requirements file, or leave it alone if it is up to date.
# Usage: scripts/venv.sh requirements.txt | requirements-dev.txt | bench/requirements.txt [FOLDER, by default .venv]
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=$1
folder=${2:-.venv}
is_current() { cmp -s "$1" "$folder/$(basename "$1")"; }
# requirements-dev.txt holds all of requirements.txt.
if is_current "$wanted" || { [ "$wanted" = requirements.txt ] && is_current requirements-dev.txt; }; then
    exit 0
fi
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Gatehouse needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || true)." >&2
    echo "Install one, or name one: PYTHON=/path/to/python3 $0" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    echo "This Python cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv" >&2
    exit 1
fi
echo "Installing $wanted into $folder ..." >&2
"$python" -m venv --clear "$folder"
# The file names all there is to install; asked to resolve anew, pip takes name[extra] and name for two packages.
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement "$wanted"
cp "$wanted" "$folder/$(basename "$wanted")"
