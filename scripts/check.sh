#!/usr/bin/env bash
# One word for "all is well": formatting, lint, types, import rules, migrations in step with the models, then the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/venv.sh requirements-dev.txt
bin=.venv/bin
step() { echo "== $1" >&2; shift; "$@"; }
step "formatting" "$bin/ruff" format --check --quiet .
step "lint" "$bin/ruff" check --quiet .
step "types" "$bin/mypy"
step "import rules" "$bin/lint-imports"
step "tests" ./scripts/test.sh "$@"
