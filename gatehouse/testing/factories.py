"""Builders for the tests: they go through the real services, and a browser that knows about CSRF."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from app.permissions import ADMIN_ROLE
from app.security import Actor
from app.services import roles, users

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask import Flask
    from werkzeug.test import TestResponse

    from app.models import Role, User

PASSWORD = "turnip lantern gravel osprey"

_numbers = itertools.count(1)


class Factory:
    """Makes users, roles and signed-in browsers for one application."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def user(
        self, *, email: str | None = None, name: str = "", password: str | None = PASSWORD, roles: Iterable[str] = ()
    ) -> User:
        """Make a user."""
        with self.app.app_context():
            made = users.create_user(
                email=email or f"user{next(_numbers)}@example.com", name=name, password=password, actor=Actor.system()
            )
            for role in roles:
                made = users.assign_role(made.id, role, actor=Actor.system())
            return made

    def admin(self, **fields: Any) -> User:
        """Make an administrator."""
        return self.user(roles=[ADMIN_ROLE], **fields)

    def role(self, *permissions: str, name: str | None = None) -> Role:
        """Make a role."""
        with self.app.app_context():
            return roles.create_role(
                name=name or f"role{next(_numbers)}", description="", permissions=permissions, actor=Actor.system()
            )

    def sign_in(self, user: User, *, password: str = PASSWORD, remember: bool = False) -> Browser:
        """Return a browser that ``user`` signed in with."""
        browser = Browser(self.app)
        response = browser.post("/api/v1/auth/login", {"email": user.email, "password": password, "remember": remember})
        assert response.status_code == 200, response.text
        return browser

    def sign_in_with(self, *permissions: str) -> Browser:
        """Return a browser that a new user signed in with who holds just these permissions."""
        role = self.role(*permissions)
        return self.sign_in(self.user(roles=[role.name]))


class Browser:
    """A client that keeps cookies and sends the CSRF token, as the console's pages do."""

    def __init__(self, app: Flask, *, base_url: str = "http://localhost") -> None:
        self.app = app
        self.base_url = base_url
        self.client = app.test_client()

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that it keeps, by name."""
        return {cookie.key: cookie.value for cookie in (self.client._cookies or {}).values()}

    def csrf_token(self) -> str:
        """Return the session's CSRF token."""
        token: str = self.client.get("/api/v1/auth/csrf", base_url=self.base_url).get_json()["csrf_token"]
        return token

    def get(self, path: str, **options: Any) -> TestResponse:
        """GET ``path``."""
        return self.client.get(path, base_url=self.base_url, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        """POST ``body`` as JSON."""
        return self.send("POST", path, body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        """PUT ``body`` as JSON."""
        return self.send("PUT", path, body, **options)

    def patch(self, path: str, body: Any = None, **options: Any) -> TestResponse:
        """PATCH with ``body`` as JSON."""
        return self.send("PATCH", path, body, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        """DELETE ``path``."""
        return self.send("DELETE", path, **options)

    def send(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **options: Any
    ) -> TestResponse:
        """Send a state-changing call with the CSRF token."""
        if body is not None:
            options["json"] = body
        headers = {"X-CSRF-Token": self.csrf_token()} | (headers or {})
        return self.client.open(path, method=method, base_url=self.base_url, headers=headers, **options)
