"""The caller's own account: profile, sessions, export, deletion."""

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

from flask import Flask, Response, current_app
from flask_login import current_user

from app.http.openapi import Blueprint
from app.http.requests import get_actor
from app.models import AuditEntry
from app.schemas import AuditEntryOutput, ExportOutput, OwnUserOutput, ProfileInput, SessionListOutput
from app.security import end_browser_session, forget_device, requires
from app.services import accounts, audit, leaving, sessions, user_data
from app.services.accounts import UserNotFound
from app.services.admins import LastAdmin
from app.services.sessions import SessionNotFound
from app.services.user_data import UserInUse

_ABOUT: Final = ExportOutput(exclude=("audit",))
_ENTRIES: Final = AuditEntryOutput(many=True)

blueprint = Blueprint("me", __name__, url_prefix="/api/v1/users/me", description="The caller's own account")


@blueprint.route("")
@blueprint.response(200, OwnUserOutput)
@requires(before_password_change=True)
def get_me() -> Any:
    """Get the caller."""
    return current_user.user


@blueprint.route("", methods=["PATCH"])
@blueprint.response(200, OwnUserOutput)
@blueprint.arguments(ProfileInput)
@blueprint.raises(UserNotFound)
@requires()
def update_me(body: dict[str, Any]) -> Any:
    """Change the caller's name, or the language of their mails."""
    if not body:
        return current_user.user
    return accounts.update_profile(current_user.user.id, changes=body, actor=get_actor())


@blueprint.route("", methods=["DELETE"])
@blueprint.response(204)
@blueprint.raises(LastAdmin, UserInUse, UserNotFound)
@requires(fresh=True)
def delete_me() -> Response:
    """Delete the caller's account and all that belongs to it, after a time of grace in which it can be undone."""
    if leaving.leave(actor=get_actor()) is None:
        forget_device()
    end_browser_session()
    return Response(status=204)


@blueprint.route("/export")
@blueprint.response(200, ExportOutput)
@blueprint.raises(UserNotFound)
@requires()
def export_me() -> Response:
    """Get everything stored about the caller, as a stream that may be long."""
    user_id = current_user.user.id
    # Read before the answer begins, so that an unavailable database is a problem and not a broken export; and before
    # the request's session has a connection, so that nobody waits for a second one while holding the first.
    entries = audit.list_entries_about(user_id)
    about: dict[str, Any] = user_data.export(user_id)._asdict()
    about |= user_data.export_traces(user_id)._asdict()
    about |= {"user": accounts.get_user(user_id), "sessions": sessions.list_sessions(user_id)}
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined] # noqa: SLF001 - Flask's own way to it
    return Response(_write_export(app, user_id, _ABOUT.dump(about), entries), mimetype="application/json")


def _write_export(
    app: Flask, user_id: uuid.UUID, about: dict[str, Any], entries: Sequence[AuditEntry]
) -> Iterator[str]:
    """Yield an ``ExportOutput`` piece by piece; no connection to the database is held while the client reads."""
    yield json.dumps(about).removesuffix("}") + ', "audit": ['
    separator = ""
    while entries:
        yield separator + json.dumps(_ENTRIES.dump(entries))[1:-1]
        separator = ", "
        with app.app_context():
            entries = audit.list_entries_about(user_id, after=entries[-1].id)
    yield "]}"


@blueprint.route("/sessions")
@blueprint.resource(
    "own_sessions", title="user_agent", columns=("user_agent", "ip", "created_at", "last_seen_at", "current")
)
@blueprint.response(200, SessionListOutput)
@requires()
def list_my_sessions() -> Any:
    """List the caller's sessions, newest first."""
    return {"items": sessions.list_sessions(current_user.user.id)}


@blueprint.route("/sessions", methods=["DELETE"])
@blueprint.response(204)
@requires()
def end_my_other_sessions() -> Response:
    """End the caller's other sessions."""
    sessions.end_all_sessions(current_user.user.id, but=current_user.session.id, actor=get_actor())
    return Response(status=204)


@blueprint.route("/sessions/<uuid:session_id>", methods=["DELETE"])
@blueprint.response(204)
@blueprint.raises(SessionNotFound)
@requires()
def end_my_session(session_id: uuid.UUID) -> Response:
    """End one of the caller's sessions."""
    sessions.end_session(session_id, user_id=current_user.user.id, actor=get_actor())
    if session_id == current_user.session.id:
        end_browser_session()
    return Response(status=204)
