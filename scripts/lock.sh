#!/usr/bin/env bash
# Resolve pyproject.toml anew and write the pinned, hashed requirements.
# requirements-dev.txt is the lock of everything; requirements.txt is the part of it that the product runs on.
# bench/requirements.txt is what the benchmark's peers run on, and none of ours.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=(uv pip compile --universal --python-version 3.11 --generate-hashes
    --no-emit-index-url --no-emit-find-links --no-strip-extras --no-annotate --no-header --quiet)
"${uv[@]}" pyproject.toml --group dev --output-file requirements-dev.txt "$@"
"${uv[@]}" pyproject.toml --constraint requirements-dev.txt --output-file requirements.txt
"${uv[@]}" --group pyproject.toml:peers --output-file bench/requirements.txt "$@"
