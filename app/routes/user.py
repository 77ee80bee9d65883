"""User administration."""

import uuid
from typing import Any

from flask import Response
from flask_login import current_user

from app.http.openapi import Blueprint
from app.http.requests import get_actor
from app.ratelimit import RateLimitStoreAway
from app.schemas import (
    AcceptedOutput,
    SessionListOutput,
    UserCreateInput,
    UserOutput,
    UserPageOutput,
    UserQuery,
    UserUpdateInput,
)
from app.security import HashingBusy, ReauthenticationRequired, WeakPassword, require_fresh, requires
from app.services import accounts, recovery, sessions, users
from app.services.accounts import EmailTaken, UserNotFound
from app.services.admins import LastAdmin
from app.services.cursors import InvalidCursor
from app.services.roles import RoleNotFound, UngrantablePermission
from app.services.sign_in_methods import SignInMethodOff
from app.services.user_data import UserInUse
from app.services.users import TargetOutranksActor

blueprint = Blueprint("user", __name__, tag="users", url_prefix="/api/v1/users", description="User administration")


@blueprint.route("")
@blueprint.resource("users", title="email", columns=("email", "name", "roles", "is_active", "last_login_at"))
@blueprint.response(200, UserPageOutput)
@blueprint.arguments(UserQuery, location="query")
@blueprint.raises(InvalidCursor)
@requires("users:read")
def list_users(query: dict[str, Any]) -> Any:
    """List users, filtered and sorted, page by page."""
    return users.list_users(**query)


@blueprint.route("", methods=["POST"])
@blueprint.response(201, UserOutput)
@blueprint.arguments(UserCreateInput)
@blueprint.raises(EmailTaken, WeakPassword, HashingBusy)
@requires("users:write")
def create_user(body: dict[str, Any]) -> Any:
    """Create an account for somebody else."""
    return users.create_user(**body, actor=get_actor())


@blueprint.route("/<uuid:user_id>")
@blueprint.response(200, UserOutput)
@blueprint.raises(UserNotFound)
@requires("users:read")
def get_user(user_id: uuid.UUID) -> Any:
    """Get a user."""
    return accounts.get_user(user_id)


@blueprint.route("/<uuid:user_id>", methods=["PATCH"])
@blueprint.response(200, UserOutput)
@blueprint.arguments(UserUpdateInput)
@blueprint.raises(UserNotFound, TargetOutranksActor, LastAdmin, SignInMethodOff)
@requires("users:write")
def update_user(body: dict[str, Any], user_id: uuid.UUID) -> Any:
    """Change a user's name, whether the account is active, or whether its password has to be changed."""
    return users.update_user(user_id, changes=body, actor=get_actor())


@blueprint.route("/<uuid:user_id>", methods=["DELETE"])
@blueprint.response(204)
@blueprint.raises(UserNotFound, TargetOutranksActor, LastAdmin, UserInUse, ReauthenticationRequired)
@requires("users:write")
def delete_user(user_id: uuid.UUID) -> Response:
    """Delete a user; deleting oneself needs the password given within the last ten minutes."""
    if user_id == current_user.user.id:
        require_fresh()
    users.delete_user(user_id, actor=get_actor())
    return Response(status=204)


@blueprint.route("/<uuid:user_id>/roles/<string:name>", methods=["PUT"])
@blueprint.response(200, UserOutput)
@blueprint.raises(UserNotFound, RoleNotFound, UngrantablePermission)
@requires("roles:assign")
def assign_role(user_id: uuid.UUID, name: str) -> Any:
    """Give a role to a user."""
    return users.assign_role(user_id, name, actor=get_actor())


@blueprint.route("/<uuid:user_id>/roles/<string:name>", methods=["DELETE"])
@blueprint.response(200, UserOutput)
@blueprint.raises(UserNotFound, RoleNotFound, TargetOutranksActor, LastAdmin)
@requires("roles:assign")
def revoke_role(user_id: uuid.UUID, name: str) -> Any:
    """Take a role from a user."""
    return users.revoke_role(user_id, name, actor=get_actor())


@blueprint.route("/<uuid:user_id>/sessions")
@blueprint.resource("user_sessions", title="user_agent", columns=("user_agent", "ip", "created_at", "last_seen_at"))
@blueprint.response(200, SessionListOutput)
@blueprint.raises(UserNotFound)
@requires("users:read")
def list_sessions(user_id: uuid.UUID) -> Any:
    """List a user's sessions, newest first."""
    accounts.get_user(user_id)
    return {"items": sessions.list_sessions(user_id)}


@blueprint.route("/<uuid:user_id>/sessions", methods=["DELETE"])
@blueprint.response(204)
@blueprint.raises(UserNotFound, TargetOutranksActor)
@requires("users:write")
def end_sessions(user_id: uuid.UUID) -> Response:
    """End all of a user's sessions."""
    users.end_sessions(user_id, actor=get_actor())
    return Response(status=204)


@blueprint.route("/<uuid:user_id>/password-reset", methods=["POST"])
@blueprint.response(202, AcceptedOutput)
@blueprint.raises(UserNotFound, TargetOutranksActor, SignInMethodOff)
@requires("users:write")
def mail_password_reset(user_id: uuid.UUID) -> Any:
    """Mail a user a link to choose a new password; one who is not active gets none."""
    recovery.mail_reset(user_id, actor=get_actor())
    return {"status": "accepted"}


@blueprint.route("/<uuid:user_id>/unlock", methods=["POST"])
@blueprint.response(204)
@blueprint.raises(UserNotFound, TargetOutranksActor, RateLimitStoreAway)
@requires("users:write")
def unlock_user(user_id: uuid.UUID) -> Response:
    """Unlock a user's account: clear what throttles signing in to it."""
    users.unlock(user_id, actor=get_actor())
    return Response(status=204)
