#!/usr/bin/env bash
# Measure the product against its floor and its peers, on servers of its own, and print one table. Linux; a quarter of an
# hour on two cores. Usage: scripts/bench.sh [--quick] [--only WORD]; a whole run also writes docs/figures.md and its plot.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/venv.sh requirements-dev.txt
./scripts/venv.sh bench/requirements.txt bench/.venv
./scripts/servers.sh postgresql mariadb redis wrk
exec .venv/bin/python -m bench.product.run "$@"
