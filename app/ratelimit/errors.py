"""What the limiter answers where it does not let a request on."""

from app.utils import AppError, Unavailable


class RateLimited(AppError):
    """A limit refused the request; the same request is admitted after ``retry_after_seconds``."""

    status = 429
    title = "Too many requests"
    detail = "Too many requests. Try again after as many seconds as Retry-After says."

    def __init__(self, retry_after_seconds: int, *, limit_name: str | None = None) -> None:
        self.limit_name = limit_name
        super().__init__(
            f"Too many requests. Try again in {retry_after_seconds} s.", retry_after_seconds=retry_after_seconds
        )


class OutcomeOpen(Unavailable):
    """Others have reserved what is left, and it is still open whether they need it."""

    title = "Others are being checked"
    detail = "Too many attempts are being checked at this moment. Try again in a second."


class RateLimitStoreAway(AppError):
    """The store that counts is away, and what was asked needs it."""

    status = 503
    code = "ratelimit_store_away"
    detail = "The rate limit store is away, so what it counted can be neither seen nor cleared. Try again shortly."
