"""Health checks for load balancers."""

from typing import Any

from app.database import probe
from app.extensions import db, get_extensions, limiter
from app.http.openapi import Blueprint
from app.http.problems import make_problem
from app.ratelimit import exempt
from app.schemas import LiveOutput, ReadyOutput
from app.security import public
from app.server import is_draining
from app.utils import AppError

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
    checks = {"database": database, "ratelimit": "degraded" if limiter.is_degraded() else "ok"}
    if database != "ok":
        return make_problem(NotReady(retry_after_seconds=1), checks=checks)
    if is_draining():
        return make_problem(NotReady("The server is about to stop.", retry_after_seconds=1), checks=checks)
    extensions = get_extensions().check_health()
    is_ok = checks["ratelimit"] == "ok" and "failing" not in extensions.values()
    return {"status": "ok" if is_ok else "degraded", "checks": checks | {"extensions": extensions}}
