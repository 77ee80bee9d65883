"""The floor: the least that a guarded request can be made of, in plain Flask, served by the product's own server.

One user from the database by SQLAlchemy's ORM, one script call to Redis where there is one, the user as JSON.

    python -m bench.peers.floor seed USERS    make the table and its users
    python -m bench.peers.floor               serve on PORT

DATABASE_URL and REDIS_URL (empty: none) say where.
"""

from __future__ import annotations

import os
import sys
import uuid
from datetime import UTC, datetime

import redis
import sqlalchemy as sa
from flask import Flask, Response, jsonify
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from app.server.master import serve
from bench.programs import THREADS, WORKERS

NAMESPACE = uuid.UUID("01900000-0000-7000-8000-000000000000")

# The product's own.
DRIVERS = {"postgresql": "postgresql+psycopg2", "mysql": "mysql+pymysql"}


class Base(DeclarativeBase):
    """The base of the one model."""


class User(Base):
    """A person with an account."""

    __tablename__ = "floor_users"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(sa.String(254), unique=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    is_active: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


def make_engine() -> sa.Engine:
    """Return the engine of DATABASE_URL, with SQLAlchemy's defaults."""
    url = sa.make_url(os.environ["DATABASE_URL"])
    return sa.create_engine(url.set(drivername=DRIVERS.get(url.drivername, url.drivername)))


def make_id(number: int) -> uuid.UUID:
    """Return the key of the user with that number."""
    return uuid.UUID(int=NAMESPACE.int + number)


def seed(count: int) -> None:
    """Make the table and its users."""
    engine = make_engine()
    Base.metadata.create_all(engine)
    now = datetime.now(UTC).replace(tzinfo=None)
    with Session(engine) as session:
        session.add_all(
            User(
                id=make_id(number),
                email=f"user{number}@example.com",
                name=f"User {number}",
                is_active=True,
                created_at=now,
                updated_at=now,
            )
            for number in range(1, count + 1)
        )
        session.commit()


def create_app() -> Flask:
    """Return the application."""
    app = Flask(__name__)
    engine = make_engine()
    client = redis.Redis.from_url(os.environ["REDIS_URL"]) if os.environ.get("REDIS_URL") else None

    @app.get("/livez")
    def get_live() -> Response:
        return jsonify(status="ok")

    @app.get("/users/<int:number>")
    def get_user(number: int) -> Response:
        if client is not None:
            client.eval("return 1", 0)
        with Session(engine) as session:
            user = session.get_one(User, make_id(number))
        return jsonify(
            id=str(user.id),
            email=user.email,
            name=user.name,
            is_active=user.is_active,
            created_at=user.created_at.isoformat(),
            updated_at=user.updated_at.isoformat(),
        )

    return app


if __name__ == "__main__":
    if sys.argv[1:2] == ["seed"]:
        seed(int(sys.argv[2]))
    else:
        port = int(os.environ["PORT"])
        serve(create_app, host="127.0.0.1", port=port, workers=WORKERS, threads=THREADS, max_body_bytes=1024 * 1024)
