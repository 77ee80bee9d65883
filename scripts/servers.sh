#!/usr/bin/env bash
# See to the servers that the tests and benchmarks start: install what is missing, or say what is and how to get it.
# Usage: scripts/servers.sh NAME ...; the names are postgresql, mariadb, redis, chromium, postfix and wrk.
set -euo pipefail

# Where Debian, Homebrew and MacPorts put what is not on the PATH.
for folder in /usr/sbin /usr/local/sbin /usr/lib/postgresql/*/bin /opt/homebrew/opt/*/bin /usr/local/opt/*/bin; do
    PATH=$PATH:$folder
done

program_of() {
    case $1 in
        postgresql) echo initdb ;;
        mariadb) echo mariadb-install-db ;;
        redis) echo redis-server ;;
        chromium | postfix | wrk) echo "$1" ;;
        *) echo "There is no server '$1'; there are: postgresql mariadb redis chromium postfix wrk" >&2 && exit 2 ;;
    esac
}
package_of() {
    case $1 in
        mariadb) echo mariadb-server ;;
        redis) echo redis-server redis-sentinel ;;
        *) echo "$1" ;;
    esac
}

missing=""
packages=""
for name in "$@"; do
    program=$(program_of "$name")
    if ! command -v "$program" >/dev/null; then
        missing="$missing $name"
        packages="$packages $(package_of "$name")"
    fi
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing:$packages" >&2
    export DEBIAN_FRONTEND=noninteractive
    # Tests and benchmarks start servers of their own; the packages' own ones would only take ports and memory.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        trap 'rm -f $policy' EXIT
    fi
    apt-get update -qq >&2
    # shellcheck disable=SC2086 # a list of words
    apt-get install -qq --no-install-recommends $packages >/dev/null
    exit 0
fi
echo "What is needed is missing here:$missing." >&2
echo "On Debian or Ubuntu: sudo apt-get install$packages" >&2
echo "On macOS, with Homebrew: brew install$missing" >&2
echo "Or run the tests without: --without${missing// / --without }" | sed 's/--without --without/--without/' >&2
exit 1
