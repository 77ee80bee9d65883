#!/usr/bin/env bash
# Run the tests with coverage. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/venv.sh requirements-dev.txt
exec .venv/bin/python -m pytest --numprocesses 2 --cov --cov-report=term "$@"
