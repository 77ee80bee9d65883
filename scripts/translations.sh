#!/usr/bin/env bash
# Take up the words of the templates of mails and pages and compile their translations.
# Usage: scripts/translations.sh [LANGUAGE]; LANGUAGE begins a new translation, which app/languages.py has to list too.
set -euo pipefail
cd "$(dirname "$0")/.."
./scripts/venv.sh requirements-dev.txt
pybabel=$PWD/.venv/bin/pybabel
cd app
template=$(mktemp)
trap 'rm -f "$template"' EXIT
"$pybabel" --quiet extract --mapping-file mail/babel.cfg --no-location --omit-header --output-file "$template" .
if [ $# = 1 ]; then
    "$pybabel" init --input-file "$template" --output-dir mail/translations --locale "$1"
fi
"$pybabel" --quiet update --input-file "$template" --output-dir mail/translations --ignore-obsolete --omit-header \
    --no-fuzzy-matching --width 120
# A file without a header counts as fuzzy as a whole; a test refuses messages that are.
"$pybabel" --quiet compile --use-fuzzy --directory mail/translations
echo "Translate what is still empty in app/mail/translations/*/LC_MESSAGES/messages.po, then run this again." >&2
