"""The audit trail."""

from typing import Any

from app.http.openapi import Blueprint
from app.schemas import AuditPageOutput, AuditQuery
from app.security import requires
from app.services import audit
from app.services.cursors import InvalidCursor

blueprint = Blueprint("audit", __name__, url_prefix="/api/v1/audit", description="Who did what")


@blueprint.route("")
@blueprint.resource("audit", title="action", columns=("created_at", "action", "actor", "target", "ip"))
@blueprint.response(200, AuditPageOutput)
@blueprint.arguments(AuditQuery, location="query")
@blueprint.raises(InvalidCursor)
@requires("audit:read")
def list_entries(query: dict[str, Any]) -> Any:
    """List the audit trail, newest entry first, page by page."""
    return audit.list_entries(**query)
