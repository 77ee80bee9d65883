#!/usr/bin/env bash
# Serve Gatehouse: make .venv, apply the migrations, create the first administrator, serve on HOST:PORT.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/venv.sh requirements.txt
.venv/bin/flask --app run setup --check-address
exec .venv/bin/python run.py
