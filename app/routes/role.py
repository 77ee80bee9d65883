"""Roles and permissions."""

from typing import Any

from flask import Response

from app.extensions import get_extensions
from app.http.openapi import Blueprint
from app.http.requests import get_actor
from app.schemas import PermissionListOutput, RoleCreateInput, RoleListOutput, RoleOutput, RoleUpdateInput
from app.security import requires
from app.services import roles
from app.services.roles import BuiltInRole, RoleExists, RoleNotFound, UngrantablePermission

blueprint = Blueprint("role", __name__, tag="roles", url_prefix="/api/v1", description="Roles and permissions")


@blueprint.route("/roles")
@blueprint.resource("roles", key="name", title="name", columns=("name", "description", "built_in"))
@blueprint.response(200, RoleListOutput)
@requires("roles:read")
def list_roles() -> Any:
    """List the roles."""
    return {"items": roles.list_roles()}


@blueprint.route("/roles", methods=["POST"])
@blueprint.response(201, RoleOutput)
@blueprint.arguments(RoleCreateInput)
@blueprint.raises(RoleExists, UngrantablePermission)
@requires("roles:write")
def create_role(body: dict[str, Any]) -> Any:
    """Create a role."""
    return roles.create_role(**body, actor=get_actor())


@blueprint.route("/roles/<string:name>")
@blueprint.response(200, RoleOutput)
@blueprint.raises(RoleNotFound)
@requires("roles:read")
def get_role(name: str) -> Any:
    """Get a role."""
    return roles.get_role(name)


@blueprint.route("/roles/<string:name>", methods=["PATCH"])
@blueprint.response(200, RoleOutput)
@blueprint.arguments(RoleUpdateInput)
@blueprint.raises(RoleNotFound, BuiltInRole, UngrantablePermission)
@requires("roles:write")
def update_role(body: dict[str, Any], name: str) -> Any:
    """Change the description or the permissions of a role."""
    return roles.update_role(name, **body, actor=get_actor())


@blueprint.route("/roles/<string:name>", methods=["DELETE"])
@blueprint.response(204)
@blueprint.raises(RoleNotFound, BuiltInRole, UngrantablePermission)
@requires("roles:write")
def delete_role(name: str) -> Response:
    """Delete a role."""
    roles.delete_role(name, actor=get_actor())
    return Response(status=204)


@blueprint.route("/permissions")
@blueprint.response(200, PermissionListOutput)
@requires("roles:read")
def list_permissions() -> Any:
    """List all permissions."""
    return {"items": [{"name": name, "description": text} for name, text in get_extensions().permissions.items()]}
