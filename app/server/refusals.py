"""Problems (RFC 9457) for requests that never reached the application, or failed outside its error handlers."""

import contextvars
import json
import logging
import uuid
from http import HTTPStatus
from typing import Final

from gunicorn.http import errors

from app.utils import HTTP_CODES, describe_problem

STATUSES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (TimeoutError, 408),
    (errors.LimitRequestLine, 414),
    (errors.LimitRequestHeaders, 431),
    (errors.UnsupportedTransferCoding, 501),
    (errors.ExpectationFailed, 417),
    # An invalid header in an answer is the application's fault.
    (errors.InvalidResponseHeader, 500),
    (errors.InvalidResponseHeaderName, 500),
    (errors.ParseException, 400),
)

# Where the application's text for the status would be about something else.
_DETAILS: Final = {
    400: ("bad_request", "This is not a valid HTTP/1.1 request."),
    417: ("expectation_failed", "The only Expect header that is understood is 100-continue."),
    501: ("not_implemented", "Send the body as it is, or chunked: no other transfer coding is understood."),
}

logger = logging.getLogger(__name__)


def refuse(error: BaseException) -> bytes:
    """Return the whole answer to a request that met ``error``; the connection ends with it."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
    request_id = str(uuid.uuid4())
    if status == 500:
        logger.error("request %s failed outside the application", request_id, exc_info=error)
    else:
        # The error's text repeats the client's bytes, its name does not. No earlier request's context is logged.
        contextvars.Context().run(logger.info, "refused a request: %s", type(error).__name__)
    code, detail = _DETAILS.get(status) or HTTP_CODES[status]
    title = HTTPStatus(status).phrase
    problem = describe_problem(status=status, code=code, title=title, detail=detail, request_id=request_id)
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + body
