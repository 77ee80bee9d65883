#!/usr/bin/env bash
# Measure the product against its floor and its peers, on servers of its own, and print one table. Linux.
# Usage: scripts/bench.sh [--quick] [--only WORD] [--json FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/venv.sh requirements-dev.txt
./scripts/venv.sh bench/requirements.txt bench/.venv
./scripts/servers.sh postgresql mariadb redis wrk
exec .venv/bin/python -m bench.product.run "$@"
