"""How long a program takes from nothing to its first answer: its imports, its factory, one request.

python -m bench.peers.first_answer MODULE FACTORY PATH COOKIE    print the seconds, and those of CPU time
"""

from __future__ import annotations

import importlib
import sys
import time

from werkzeug.test import Client


def main() -> None:
    """Print the seconds, and those of CPU time."""
    module, factory, path, cookie = sys.argv[1:]
    begun_at = time.perf_counter()
    application = getattr(importlib.import_module(module), factory)()
    answer = Client(application, use_cookies=False).get(path, base_url="https://127.0.0.1", headers={"Cookie": cookie})
    assert answer.status_code == 200, answer.text
    print(time.perf_counter() - begun_at, time.process_time())


if __name__ == "__main__":
    main()
