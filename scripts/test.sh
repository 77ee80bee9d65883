#!/usr/bin/env bash
# Run the tests with coverage, on servers of their own. Arguments go to pytest.
# --without NAME leaves out the tests that need postgresql, mariadb, redis, chromium or postfix.
set -euo pipefail
cd "$(dirname "$0")/.."
needed=" postgresql mariadb redis chromium postfix "
previous=""
for argument in "$@"; do
    if [ "$previous" = --without ]; then
        needed=${needed/ $argument / }
    elif [[ $argument == --without=* ]]; then
        needed=${needed/ ${argument#*=} / }
    fi
    previous=$argument
done
./scripts/venv.sh requirements-dev.txt
# shellcheck disable=SC2086 # a list of names
[ -z "${needed// /}" ] || ./scripts/servers.sh $needed
# Three at once on two cores: many tests wait for servers that are away.
exec .venv/bin/python -m pytest --numprocesses 3 --cov --cov-report=term "$@"
