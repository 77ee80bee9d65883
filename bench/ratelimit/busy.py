"""Whether a busy machine passes for a store that is away: ``python -m bench.ratelimit.busy [--seconds 600]``.

Four processes of eight threads decide by one healthy Redis, beside four that only use up the processor. Every line of
"away" in their logs is a false outage. All of them together guess at strict limits of 10, a new subject for each round:
more than 10 admitted is a gap.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import threading
import time
from typing import TYPE_CHECKING

from app.ratelimit import Charge, Engine, compile_plan, parse_storage_uri
from gatehouse.testing.servers.redis import running

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier, Event

    from app.ratelimit import Decision

    # Of one process: false outages, decisions, those made without the store, and what each round admitted.
    Found = tuple[int, int, int, list[int]]

PROCESSES = 4
THREADS = 8
BUSY = 4
AMOUNT = 10
GUESSES_OF_A_THREAD = 3
STRICT = compile_plan(f"{AMOUNT}/hour", scope="guesses", is_strict=True)


class _Outages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "is away" in record.getMessage()


def use_up_processor(is_over: Event) -> None:
    """Compute until told to stop."""
    while not is_over.is_set():
        sum(range(10_000))


def _ask(engine: Engine, charge: Charge, decisions: list[Decision]) -> None:
    for _ in range(GUESSES_OF_A_THREAD):
        decisions.append(engine.decide(charge))  # noqa: PERF401 - what was decided is kept, whatever comes


def guess(port: int, until: float, barrier: Barrier, is_over: Event, results: Queue[Found]) -> None:
    """Guess round after round, all processes at once; report the outages, decisions, and what each round admitted."""
    outages = _Outages()
    logging.getLogger("app.ratelimit").addHandler(outages)
    engine = Engine(parse_storage_uri(f"redis://127.0.0.1:{port}"), workers=PROCESSES)
    admitted: list[int] = []
    local = 0
    while True:
        barrier.wait()
        # One says for all whether there is another round.
        if time.monotonic() > until:
            is_over.set()
        barrier.wait()
        if is_over.is_set():
            break
        decisions: list[Decision] = []
        charge = Charge(STRICT, f"round-{len(admitted)}")
        threads = [threading.Thread(target=_ask, args=(engine, charge, decisions)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        admitted.append(sum(decision.is_admitted for decision in decisions))
        local += sum(decision.is_local for decision in decisions)
    engine.close()
    results.put((outages.count, len(admitted) * THREADS * GUESSES_OF_A_THREAD, local, admitted))


def measure(seconds: float) -> tuple[int, int, int, list[int]]:
    """Return the false outages, the decisions, those made without the store, and what each round admitted in all."""
    context = multiprocessing.get_context("fork")
    is_over = context.Event()
    busy = [context.Process(target=use_up_processor, args=(is_over,)) for _ in range(BUSY)]
    with running() as server:
        barrier: Barrier = context.Barrier(PROCESSES)
        results: Queue[Found] = context.Queue()
        processes = [
            context.Process(target=guess, args=(server.port, time.monotonic() + seconds, barrier, is_over, results))
            for _ in range(PROCESSES)
        ]
        for process in busy + processes:
            process.start()
        found = [results.get(timeout=seconds + 60) for _ in processes]
        for process in busy + processes:
            process.join()
    rounds = min(len(each[3]) for each in found)
    totals = [sum(each[3][number] for each in found) for number in range(rounds)]
    return sum(each[0] for each in found), sum(each[1] for each in found), sum(each[2] for each in found), totals


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    outages, decisions, local, totals = measure(parser.parse_args().seconds)
    exact = sum(total == AMOUNT for total in totals)
    print(f"load average {os.getloadavg()[0]:.1f}; {decisions} decisions, {local} of them without the store")
    print(f"false outages: {outages}; rounds that admitted {AMOUNT} of {AMOUNT}: {exact} of {len(totals)}")
    if exact < len(totals):
        print(f"most: {max(totals)}, least: {min(totals)}")


if __name__ == "__main__":
    main()
