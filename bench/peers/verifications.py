"""The floor of signing in: bare Argon2id verifications with the product's parameters, in as many processes as it has.

    python -m bench.peers.verifications LIBRARY SECONDS    print how many there were a second

LIBRARY is ``libsodium``, which the product calls, or ``argon2-cffi``, the customary one.
"""

from __future__ import annotations

import multiprocessing
import sys
import time

import argon2
import nacl.bindings

from app.security.passwords import LANES, MEMORY_KIB, PASSES
from bench.programs import WORKERS

PASSWORD = "correct horse battery staple"  # noqa: S105 - nobody's


def hash_password() -> str:
    """Return the hash of the password that everybody has."""
    return argon2.PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES).hash(PASSWORD)


def verify_for(library: str, seconds: float, password_hash: str) -> float:
    """Verify over and over for so many seconds and return how many verifications a second that was."""
    hasher = argon2.PasswordHasher()
    text, secret = password_hash.encode(), PASSWORD.encode()
    begun_at = time.perf_counter()
    count = 0
    while (taken := time.perf_counter() - begun_at) < seconds:
        if library == "libsodium":
            nacl.bindings.crypto_pwhash_str_verify(text, secret)
        else:
            hasher.verify(text, secret)
        count += 1
    return count / taken


def main() -> None:
    """Print the sum of all processes."""
    task = (sys.argv[1], float(sys.argv[2]), hash_password())
    with multiprocessing.Pool(WORKERS) as pool:
        print(sum(pool.starmap(verify_for, [task] * WORKERS)))


if __name__ == "__main__":
    main()
