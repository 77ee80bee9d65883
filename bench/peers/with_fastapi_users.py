"""The same work with fastapi-users and slowapi, as their documentation sets them up, with tokens kept in Redis.

    python -m bench.peers.with_fastapi_users USERS SIGNED_IN    make the tables and users, print a Cookie header each
    uvicorn ... bench.peers.with_fastapi_users:app              serve

DATABASE_URL, REDIS_URL and LIMITS (separated by semicolons) say how.
"""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Annotated

import redis.asyncio
import sqlalchemy as sa
from fastapi import Depends, FastAPI, Request
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin, schemas
from fastapi_users.authentication import AuthenticationBackend, CookieTransport, RedisStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """The base of the one model."""


class User(SQLAlchemyBaseUserTableUUID, Base):
    """A person with an account."""


class UserRead(schemas.BaseUser[uuid.UUID]):
    """A user as JSON."""


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    """What fastapi-users does with users."""


engine = create_async_engine(sa.make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg"))
make_session = async_sessionmaker(engine, expire_on_commit=False)
tokens = redis.asyncio.from_url(os.environ["REDIS_URL"], decode_responses=True)
limiter = Limiter(key_func=get_remote_address, storage_uri=os.environ["REDIS_URL"])


async def get_session() -> AsyncIterator[AsyncSession]:
    """Yield a session of the database for one request."""
    async with make_session() as session:
        yield session


async def get_user_db(
    session: Annotated[AsyncSession, Depends(get_session)],
) -> AsyncIterator[SQLAlchemyUserDatabase[User, uuid.UUID]]:
    """Yield the users in the database."""
    yield SQLAlchemyUserDatabase(session, User)


async def get_user_manager(
    user_db: Annotated[SQLAlchemyUserDatabase[User, uuid.UUID], Depends(get_user_db)],
) -> AsyncIterator[UserManager]:
    """Yield the manager of users."""
    yield UserManager(user_db)


def get_strategy() -> RedisStrategy[User, uuid.UUID]:
    """Return where tokens are kept."""
    return RedisStrategy(tokens, lifetime_seconds=3600)


backend = AuthenticationBackend(name="redis", transport=CookieTransport(cookie_max_age=3600), get_strategy=get_strategy)
find_user = FastAPIUsers[User, uuid.UUID](get_user_manager, [backend]).current_user(active=True)

app = FastAPI()
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)


@app.get("/users/me", response_model=UserRead)
@limiter.limit(os.environ["LIMITS"])
async def get_me(request: Request, user: Annotated[User, Depends(find_user)]) -> User:  # noqa: ARG001 - slowapi's
    """Say who is signed in."""
    return user


async def seed(users: int, signed_in: int) -> None:
    """Make the tables and users; print the Cookie header of each of the first ones."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with make_session() as session:
        people = [
            User(email=f"user{number}@example.com", hashed_password="-")  # noqa: S106 - nobody's
            for number in range(1, users + 1)
        ]
        session.add_all(people)
        await session.commit()
        for user in people[:signed_in]:
            print(f"fastapiusersauth={await get_strategy().write_token(user)}")


if __name__ == "__main__":
    asyncio.run(seed(int(sys.argv[1]), int(sys.argv[2])))
