"""Fail the product's database over, or freeze it, under many clients for a while, and print what they saw of it.

Usage: python -m bench.soak_outages failover [--clients 8] [--seconds 20]
       python -m bench.soak_outages postgresql|mariadb [--clients 24] [--seconds 30]

Exits 1 if an answer took longer than 5 s, was neither what was asked for nor a problem with Retry-After, if a worker
was replaced, if an acknowledged account is missing, or if somebody was signed out.
"""

from __future__ import annotations

import argparse
import collections
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.servers.conftest import make_server
from tests.servers.outages.failover import fail_over
from tests.servers.outages.freeze import ME, SIGN_IN, WITHOUT_DATABASE, Load, freeze

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.servers.harness.crowd import Answer

ANSWER_SECONDS: Final = 5.0
ALLOWED: Final = {200, 201, 409, 429, 503}


def count_faults(answers: Iterable[Answer]) -> int:
    """Return how many answers broke a promise."""
    return sum(
        answer.seconds > ANSWER_SECONDS
        or answer.status not in ALLOWED
        or (answer.status == 503 and not answer.has_retry_after)
        for answer in answers
    )


def print_answers(answers: Iterable[Answer]) -> None:
    """Print how often each call was answered how, and how long it took."""
    kinds: collections.defaultdict[str, list[float]] = collections.defaultdict(list)
    for answer in answers:
        kinds[f"{answer.call} {answer.status} {answer.code}"].append(answer.seconds * 1000)
    for kind, times in sorted(kinds.items()):
        print(f"{kind}: {len(times)}, median {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms")


def soak_failover(folder: Path, *, clients: int, seconds: float) -> bool:
    """Print what came of a failover, and say whether every promise was kept."""
    found = fail_over(folder, clients=clients, seconds_before=seconds, seconds_after=seconds)
    print_answers(found.answers)
    print(f"accounts acknowledged {found.acknowledged}, missing {len(found.missing)}, promoted after", end=" ")
    print(f"{found.promoted_after_seconds:.2f} s, registrations resumed {found.resumed_after_seconds:.2f} s after that")
    is_kept = not found.missing and not found.contradicted and found.pids_after == found.pids_before
    return is_kept and not count_faults(found.answers)


def soak_freeze(name: str, folder: Path, *, clients: int, seconds: float) -> bool:
    """Print what came of a freeze, and say whether every promise was kept."""
    with make_server(name) as server:
        found = freeze(server, folder, seconds=seconds, load=Load(signed_in=clients))
    print("while it stood still:")
    print_answers(found.find_during(ME, SIGN_IN, *(f"GET {path}" for path in WITHOUT_DATABASE)))
    print(f"back after {found.back_after_seconds:.2f} s, {found.connections} connections left", end=", ")
    print(f"{found.signed_out} signed out, workers {found.pids_before} and {found.pids_after} afterwards")
    return not found.signed_out and found.pids_after == found.pids_before and not count_faults(found.answers)


def main() -> int:
    """Run the outage that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outage", choices=("failover", "postgresql", "mariadb"))
    parser.add_argument("--clients", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    arguments = parser.parse_args()
    is_failover = arguments.outage == "failover"
    clients = arguments.clients or (8 if is_failover else 24)
    seconds = arguments.seconds or (20 if is_failover else 30)
    with tempfile.TemporaryDirectory() as folder:
        if is_failover:
            is_kept = soak_failover(Path(folder), clients=clients, seconds=seconds)
        else:
            is_kept = soak_freeze(arguments.outage, Path(folder), clients=clients, seconds=seconds)
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
