"""Health checks for load balancers."""

import time
from typing import Any, Final

from flask import current_app

from app.database import DatabaseUnavailable, probe, time_limit
from app.extensions import db, get_extensions, limiter
from app.http.openapi import Blueprint
from app.http.problems import make_problem
from app.ratelimit import exempt
from app.schemas import LiveOutput, ReadyOutput
from app.security import public
from app.server import is_draining
from app.services import mails
from app.utils import AppError

MAIL_LOOK_SECONDS: Final = 1.0
MAIL_KEPT_SECONDS: Final = 5.0
_MAIL_STATE: Final = "mail_state"

blueprint = Blueprint("health", __name__, description="Health checks for load balancers")


class NotReady(AppError):
    """Requests cannot be answered at this moment."""

    status = 503
    detail = "The database is away, or takes no writes."


@blueprint.route("/livez")
@blueprint.response(200, LiveOutput)
@exempt
@public
def get_live() -> dict[str, str]:
    """Report that the process is running."""
    return {"status": "ok"}


@blueprint.route("/readyz")
@blueprint.response(200, ReadyOutput)
@blueprint.raises(NotReady)
@exempt
@public
def get_ready() -> Any:
    """Report whether requests can be answered: 503 while the database is away, or the server is about to stop."""
    database = probe(db.engine)
    checks = {
        "database": database,
        "ratelimit": "degraded" if limiter.is_degraded() else "ok",
        "mail": _check_mail() if database == "ok" else "degraded",
    }
    if database != "ok":
        return make_problem(NotReady(retry_after_seconds=1), checks=checks)
    if is_draining():
        return make_problem(NotReady("The server is about to stop.", retry_after_seconds=1), checks=checks)
    extensions = get_extensions().check_health()
    is_ok = checks["ratelimit"] == checks["mail"] == "ok" and "failing" not in extensions.values()
    return {"status": "ok" if is_ok else "degraded", "checks": checks | {"extensions": extensions}}


def _check_mail() -> str:
    """Return the state of mail, looked at every few seconds by one probe: they come often."""
    until, state = current_app.extensions.get(_MAIL_STATE, (0.0, "ok"))
    if time.monotonic() >= until:
        next_look = time.monotonic() + MAIL_KEPT_SECONDS
        current_app.extensions[_MAIL_STATE] = (next_look, state)
        try:
            with time_limit(MAIL_LOOK_SECONDS):
                state = "degraded" if mails.is_late() else "ok"
        except DatabaseUnavailable:
            state = "degraded"
        current_app.extensions[_MAIL_STATE] = (next_look, state)
    return str(state)
