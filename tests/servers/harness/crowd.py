"""Many clients of the product at once, over HTTP, and a record of all that they were answered."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

PASSWORD = "turnip lantern gravel osprey"
# Longer than any promise of the product: who waits that long has found a fault.
PATIENCE_SECONDS = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What one call was answered; ``status`` 0 is a connection that ended without an answer."""

    call: str
    status: int
    code: str
    asked_at: float
    seconds: float
    has_retry_after: bool

    @property
    def ended_at(self) -> float:
        """When the answer was there, on the monotonic clock."""
        return self.asked_at + self.seconds


class Crowd:
    """Clients that do their work over and over until the block ends."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._answers: list[Answer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE_SECONDS)
        assert not any(thread.is_alive() for thread in self._threads)

    @property
    def answers(self) -> list[Answer]:
        """Everything answered so far."""
        with self._lock:
            return list(self._answers)

    def make_client(self) -> Client:
        """Return a client without cookies, whose answers are recorded here."""
        return Client(self._url, self._note)

    def send(self, works: Iterable[Callable[[], object]], *, pause_seconds: float = 0.0) -> None:
        """Let each of ``works`` be done again and again, on a thread of its own, with so long a pause in between."""
        for work in works:
            thread = threading.Thread(target=self._repeat, args=(work, pause_seconds), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _repeat(self, work: Callable[[], object], pause_seconds: float) -> None:
        while not self._is_over.wait(pause_seconds):
            work()

    def _note(self, answer: Answer) -> None:
        with self._lock:
            self._answers.append(answer)


class Client:
    """A browser: it keeps cookies and connections, and sends the token where one is asked for."""

    def __init__(self, url: str, note: Callable[[Answer], None]) -> None:
        self._url = url
        self._note = note
        self._http = requests.Session()
        self._http.trust_env = False

    def get(self, path: str) -> Answer:
        """Call a route that only reads."""
        return self._call("GET", path)

    def register(self, email: str) -> Answer:
        """Make an account, in a browser that was never here before."""
        self._http.cookies.clear()
        return self._post("/api/v1/auth/register", {"email": email, "password": PASSWORD, "name": "Ada"})

    def sign_in(self, email: str) -> Answer:
        """Sign in, as a browser that was never here before."""
        self._http.cookies.clear()
        return self._post("/api/v1/auth/login", {"email": email, "password": PASSWORD})

    def _post(self, path: str, body: dict[str, str]) -> Answer:
        token: list[str] = []
        answer = self._call("GET", "/api/v1/auth/csrf", keep=lambda found: token.append(found["csrf_token"]))
        if not token:
            return answer
        return self._call("POST", path, json=body, headers={"X-CSRF-Token": token[0]})

    def _call(
        self,
        method: str,
        path: str,
        *,
        keep: Callable[[dict[str, Any]], object] = lambda _found: None,
        **options: Any,
    ) -> Answer:
        asked_at = time.monotonic()
        status, code, has_retry_after = 0, "", False
        try:
            response = self._http.request(method, self._url + path, timeout=PATIENCE_SECONDS, **options)
        except requests.RequestException as error:
            code = type(error).__name__
        else:
            status, has_retry_after = response.status_code, "Retry-After" in response.headers
            found = response.json()
            code = found.get("code", "")
            keep(found)
        answer = Answer(f"{method} {path}", status, code, asked_at, time.monotonic() - asked_at, has_retry_after)
        self._note(answer)
        return answer
