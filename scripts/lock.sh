#!/usr/bin/env bash
# Resolve pyproject.toml anew and write the pinned, hashed requirements.
# requirements-dev.txt is the lock of everything; requirements.txt is the part of it that the product runs on.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=(uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes
    --no-emit-index-url --no-emit-find-links --no-strip-extras --no-annotate --no-header --quiet)
"${uv[@]}" --group dev --output-file requirements-dev.txt "$@"
"${uv[@]}" --constraint requirements-dev.txt --output-file requirements.txt
