"""The same work with Flask-Security-Too and Flask-Limiter, as their documentation sets them up.

    python -m bench.peers.with_flask_security USERS SIGNED_IN    make the tables and users, print a Cookie header each
    granian ... bench.peers.with_flask_security:create_app      serve

DATABASE_URL, REDIS_URL and LIMITS say how.
"""

from __future__ import annotations

import os
import sys
import uuid

from flask import Flask, Response, jsonify
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_security import Security, SQLAlchemyUserDatastore, auth_required, current_user
from flask_security.models import fsqla_v3 as fsqla
from flask_security.utils import login_user
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
fsqla.FsModels.set_db_info(db)


class Role(db.Model, fsqla.FsRoleMixin):  # type: ignore[name-defined] # Flask-SQLAlchemy makes it
    """A role."""


class User(db.Model, fsqla.FsUserMixin):  # type: ignore[name-defined] # likewise
    """A person with an account."""


def create_app() -> Flask:
    """Return the application."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="pf9Wkove4IKEAXvy-cQkeDPhv9Cb3Ag-wyJILbq_dFw",  # noqa: S106 - nobody's
        SECURITY_PASSWORD_SALT="146585145368132386173505678016728509634",  # noqa: S106 - nobody's
        SESSION_COOKIE_SAMESITE="strict",
        SESSION_COOKIE_SECURE=True,
        SQLALCHEMY_DATABASE_URI=os.environ["DATABASE_URL"],
    )
    db.init_app(app)
    Security(app, SQLAlchemyUserDatastore(db, User, Role))
    Limiter(
        get_remote_address,
        app=app,
        default_limits=[os.environ["LIMITS"]],
        storage_uri=os.environ["REDIS_URL"],
        strategy="fixed-window",
    )

    @app.get("/users/me")
    @auth_required("session")
    def get_me() -> Response:
        return jsonify(
            id=current_user.id,
            email=current_user.email,
            active=current_user.active,
            created_at=current_user.create_datetime.isoformat(),
            updated_at=current_user.update_datetime.isoformat(),
        )

    return app


def seed(users: int, signed_in: int) -> None:
    """Make the tables and users; print the Cookie header of each of the first ones."""
    app = create_app()
    with app.app_context():
        db.create_all()
        db.session.add_all(
            User(email=f"user{number}@example.com", active=True, fs_uniquifier=uuid.uuid4().hex)
            for number in range(1, users + 1)
        )
        db.session.commit()
        keys = db.session.scalars(db.select(User.id).order_by(User.id).limit(signed_in)).all()
    for key in keys:
        with app.test_request_context(environ_base={"REMOTE_ADDR": "127.0.0.1"}) as context:
            login_user(db.session.get(User, key))
            response = app.response_class()
            app.session_interface.save_session(app, context.session, response)
            print(response.headers["Set-Cookie"].partition(";")[0])


if __name__ == "__main__":
    seed(int(sys.argv[1]), int(sys.argv[2]))
