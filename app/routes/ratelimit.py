"""Rate limits: which are in force, what they have counted, and how an administrator changes them."""

from typing import Any

from flask import Response

from app.extensions import get_settings, limiter
from app.http.openapi import Blueprint
from app.http.requests import get_actor
from app.ratelimit import RateLimitStoreAway
from app.schemas import (
    RateLimitChangeInput,
    RateLimitClearInput,
    RateLimitListOutput,
    RateLimitOutput,
    RateLimitQuery,
)
from app.security import requires
from app.services import ratelimits
from app.services.ratelimits import InvalidKey, InvalidLimits, RateLimitNotFound, UnknownRole
from app.services.users import TargetOutranksActor

blueprint = Blueprint(
    "ratelimit", __name__, tag="ratelimits", url_prefix="/api/v1/ratelimits", description="Rate limits"
)


@blueprint.route("")
@blueprint.resource(
    "ratelimits", key="name", title="name", columns=("name", "limits", "roles", "configured", "changed_at")
)
@blueprint.response(200, RateLimitListOutput)
@blueprint.arguments(RateLimitQuery, location="query")
@requires("ratelimits:read")
def list_rate_limits(query: dict[str, Any]) -> Any:
    """List the limits in force, the fullest windows, and who was refused in the last minutes.

    The latter two are empty while the store is away.
    """
    seen: dict[str, Any] = {"busiest": [], "refused": [], "is_degraded": False}
    try:
        seen["busiest"] = limiter.inspector.rank(query["limit"])
        refused = limiter.inspector.count_refused(minutes=query["minutes"])
        seen["refused"] = [
            {"subject": subject, "limit": limit, "count": count} for (limit, subject), count in refused.items()
        ][: query["limit"]]
    except RateLimitStoreAway:
        seen["is_degraded"] = True
    return {
        "items": ratelimits.list_limits(),
        "enabled": get_settings().ratelimit_enabled,
        "minutes": query["minutes"],
        **seen,
    }


@blueprint.route("/<string:name>", methods=["PATCH"])
@blueprint.response(200, RateLimitOutput)
@blueprint.arguments(RateLimitChangeInput)
@blueprint.raises(RateLimitNotFound, InvalidLimits, UnknownRole)
@requires("ratelimits:write")
def change_rate_limit(body: dict[str, Any], name: str) -> Any:
    """Change a limit; every process follows within seconds, and what was counted stays counted."""
    return ratelimits.change_limit(name, **body, actor=get_actor())


@blueprint.route("/<string:name>", methods=["DELETE"])
@blueprint.response(200, RateLimitOutput)
@blueprint.raises(RateLimitNotFound)
@requires("ratelimits:write")
def reset_rate_limit(name: str) -> Any:
    """Reset a limit to what the settings say."""
    return ratelimits.reset_limit(name, actor=get_actor())


@blueprint.route("/clear", methods=["POST"])
@blueprint.response(204)
@blueprint.arguments(RateLimitClearInput)
@blueprint.raises(InvalidKey, TargetOutranksActor, RateLimitStoreAway)
@requires("ratelimits:write")
def clear_rate_limit(body: dict[str, Any]) -> Response:
    """Clear what was counted under a key, such as address:203.0.113.7 or account:ada@example.com."""
    ratelimits.clear(body["key"], actor=get_actor())
    return Response(status=204)
