"""User administration: what those do who may change the accounts of others, and what they may not."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from gatehouse.testing.factories import PASSWORD, Browser

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from gatehouse.testing.factories import Factory

USERS = "/api/v1/users"
ME = f"{USERS}/me"
NOBODY = uuid.UUID("00000000-0000-7000-8000-000000000000")


def assert_refused(response: TestResponse, status: int, code: str) -> None:
    """Expect a problem."""
    assert (response.status_code, response.get_json()["code"]) == (status, code), response.text


@pytest.fixture
def clerk_browser(factory: Factory) -> Browser:
    """Somebody who administers users and roles, and is no administrator."""
    role = factory.role("users:read", "users:write", "roles:read", "roles:write", "roles:assign")
    return factory.sign_in(factory.user(roles=[role.name]))


@pytest.mark.parametrize(
    ("permission", "method", "path"),
    [
        ("users:read", "GET", USERS),
        ("users:read", "GET", f"{USERS}/{NOBODY}"),
        ("users:read", "GET", f"{USERS}/{NOBODY}/sessions"),
        ("users:write", "POST", USERS),
        ("users:write", "PATCH", f"{USERS}/{NOBODY}"),
        ("users:write", "DELETE", f"{USERS}/{NOBODY}"),
        ("users:write", "DELETE", f"{USERS}/{NOBODY}/sessions"),
        ("users:write", "POST", f"{USERS}/{NOBODY}/unlock"),
        ("roles:assign", "PUT", f"{USERS}/{NOBODY}/roles/user"),
        ("roles:assign", "DELETE", f"{USERS}/{NOBODY}/roles/user"),
    ],
)
def test_every_route_wants_its_permission_and_no_other(
    factory: Factory, permission: str, method: str, path: str
) -> None:
    others = {"users:read", "users:write", "roles:read", "roles:write", "roles:assign", "audit:read"} - {permission}
    without = factory.sign_in(factory.user(roles=[factory.role(*others).name]))
    assert_refused(without.send(method, path, {} if method != "GET" else None), 403, "permission_missing")
    granted = factory.sign_in(factory.user(roles=[factory.role(permission).name]))
    assert granted.send(method, path, {} if method != "GET" else None).status_code in {200, 404, 422}


def test_an_administrator_makes_an_account_that_can_sign_in(app: Flask, admin_browser: Browser) -> None:
    body = {"email": "New@Example.com", "password": PASSWORD, "name": "New"}
    made = admin_browser.post(USERS, body)
    assert (made.status_code, made.get_json()["email"], made.get_json()["roles"]) == (201, "new@example.com", ["user"])
    assert "permissions" not in made.get_json()
    assert_refused(admin_browser.post(USERS, body), 409, "email_taken")
    assert_refused(
        admin_browser.post(USERS, body | {"email": "b@example.com", "password": "x" * 15}), 422, "weak_password"
    )
    assert_refused(admin_browser.post(USERS, body | {"roles": ["admin"]}), 422, "invalid_input")
    login = Browser(app).post("/api/v1/auth/login", {"email": "new@example.com", "password": PASSWORD})
    assert login.status_code == 200


def test_an_account_without_a_password_lets_nobody_in(app: Flask, admin_browser: Browser) -> None:
    assert admin_browser.post(USERS, {"email": "new@example.com"}).status_code == 201
    login = Browser(app).post("/api/v1/auth/login", {"email": "new@example.com", "password": PASSWORD})
    assert_refused(login, 401, "invalid_credentials")


def test_a_user_is_read_renamed_and_deleted(admin_browser: Browser, user: Any) -> None:
    path = f"{USERS}/{user.id}"
    assert admin_browser.get(path).get_json()["email"] == user.email
    changed = admin_browser.patch(path, {"name": "Ada"})
    assert (changed.get_json()["name"], admin_browser.get(path).get_json()["name"]) == ("Ada", "Ada")
    for field in ("email", "roles", "id", "permissions", "password", "email_verified_at"):
        assert_refused(admin_browser.patch(path, {field: "x"}), 422, "invalid_input")
    assert admin_browser.delete(path).status_code == 204
    for response in (admin_browser.get(path), admin_browser.patch(path, {"name": "x"}), admin_browser.delete(path)):
        assert_refused(response, 404, "user_not_found")


def test_deactivation_acts_on_the_very_next_request_and_reactivation_brings_no_session_back(
    app: Flask, admin_browser: Browser, user: Any, user_browser: Browser
) -> None:
    path = f"{USERS}/{user.id}"
    assert admin_browser.patch(path, {"is_active": False}).get_json()["is_active"] is False
    assert_refused(user_browser.get(ME), 401, "not_signed_in")
    login = {"email": user.email, "password": PASSWORD}
    assert_refused(Browser(app).post("/api/v1/auth/login", login), 401, "invalid_credentials")
    assert admin_browser.patch(path, {"is_active": True}).status_code == 200
    assert user_browser.get(ME).status_code == 401
    assert Browser(app).post("/api/v1/auth/login", login).status_code == 200


def test_deletion_and_demotion_act_on_the_very_next_request(
    admin_browser: Browser, factory: Factory, user: Any, user_browser: Browser
) -> None:
    second = factory.admin()
    demoted = factory.sign_in(second)
    assert demoted.get(USERS).status_code == 200
    assert admin_browser.delete(f"{USERS}/{second.id}/roles/admin").get_json()["roles"] == ["user"]
    assert_refused(demoted.get(USERS), 403, "permission_missing")
    assert admin_browser.delete(f"{USERS}/{user.id}").status_code == 204
    assert_refused(user_browser.get(ME), 401, "not_signed_in")


def test_an_administrator_sees_and_ends_the_sessions_of_somebody(
    admin_browser: Browser, user: Any, user_browser: Browser
) -> None:
    path = f"{USERS}/{user.id}/sessions"
    assert [item["current"] for item in admin_browser.get(path).get_json()["items"]] == [False]
    assert admin_browser.delete(path).status_code == 204
    assert user_browser.get(ME).status_code == 401
    assert admin_browser.get(path).get_json()["items"] == []
    assert_refused(admin_browser.get(f"{USERS}/{NOBODY}/sessions"), 404, "user_not_found")


def test_roles_are_given_and_taken_as_often_as_one_likes(admin_browser: Browser, factory: Factory, user: Any) -> None:
    role = factory.role("users:read").name
    path = f"{USERS}/{user.id}/roles/{role}"
    for _ in range(2):
        assert admin_browser.put(path).get_json()["roles"] == sorted([role, "user"])
    for _ in range(2):
        assert admin_browser.delete(path).get_json()["roles"] == ["user"]
    for name in ("nothing", "Admin", "admin%00", "%ed%a0%80", "a" * 65):
        assert_refused(admin_browser.put(f"{USERS}/{user.id}/roles/{name}"), 404, "role_not_found")
        assert_refused(admin_browser.delete(f"{USERS}/{user.id}/roles/{name}"), 404, "role_not_found")
    assert_refused(admin_browser.put(f"{USERS}/{NOBODY}/roles/user"), 404, "user_not_found")


def test_nobody_hands_out_what_they_do_not_hold(clerk_browser: Browser, factory: Factory, user: Any) -> None:
    stronger = factory.role("users:read", "audit:read").name
    own = clerk_browser.get(ME).get_json()["id"]
    for target in (user.id, own):
        for role in ("admin", stronger):
            refused = clerk_browser.put(f"{USERS}/{target}/roles/{role}")
            assert_refused(refused, 403, "ungrantable_permission")
            assert "audit:read" in refused.get_json()["detail"]
    assert clerk_browser.put(f"{USERS}/{user.id}/roles/{factory.role('users:read').name}").status_code == 200


def test_nobody_acts_on_somebody_who_may_do_more(clerk_browser: Browser, factory: Factory, admin: Any) -> None:
    auditor = factory.user(roles=[factory.role("audit:read").name])
    for target in (admin, auditor):
        path = f"{USERS}/{target.id}"
        for response in (
            clerk_browser.patch(path, {"name": "x"}),
            clerk_browser.patch(path, {"is_active": False}),
            clerk_browser.delete(path),
            clerk_browser.delete(f"{path}/sessions"),
            clerk_browser.delete(f"{path}/roles/user"),
            clerk_browser.post(f"{path}/unlock"),
        ):
            assert_refused(response, 403, "target_outranks_actor")
    assert clerk_browser.get(f"{USERS}/{admin.id}").get_json()["name"] == ""


def test_the_last_active_administrator_stays(admin_browser: Browser, factory: Factory, admin: Any) -> None:
    inactive = factory.admin()
    assert admin_browser.patch(f"{USERS}/{inactive.id}", {"is_active": False}).status_code == 200
    path = f"{USERS}/{admin.id}"
    for response in (
        admin_browser.patch(path, {"is_active": False}),
        admin_browser.patch(path, {"name": "x", "is_active": False}),
        admin_browser.delete(path),
        admin_browser.delete(f"{path}/roles/admin"),
        admin_browser.delete(ME),
    ):
        assert_refused(response, 409, "last_admin")
    stored = admin_browser.get(ME).get_json()
    assert (stored["name"], stored["is_active"], stored["roles"]) == ("", True, ["admin", "user"])
    # Neither an inactive administrator nor a plain role of the last one is protected.
    assert admin_browser.delete(f"{USERS}/{inactive.id}").status_code == 204
    assert admin_browser.delete(f"{path}/roles/user").status_code == 200


def test_with_two_administrators_one_may_go(admin_browser: Browser, factory: Factory, admin: Any) -> None:
    factory.admin()
    assert admin_browser.delete(f"{USERS}/{admin.id}/roles/admin").status_code == 200
    assert_refused(admin_browser.get(USERS), 403, "permission_missing")


def test_unlocking_clears_every_budget_of_the_account(
    app: Flask, admin_browser: Browser, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.ratelimit.inspection import Inspector  # noqa: PLC0415 - only here
    from app.security import list_account_keys  # noqa: PLC0415

    cleared: list[str] = []
    monkeypatch.setattr(Inspector, "clear", lambda _self, *keys: cleared.extend(keys))
    assert admin_browser.post(f"{USERS}/{user.id}/unlock").status_code == 204
    assert cleared == list_account_keys(user.email)
    assert_refused(admin_browser.post(f"{USERS}/{NOBODY}/unlock"), 404, "user_not_found")
    del app


def test_the_roles_of_a_listed_user_come_in_their_order(admin_browser: Browser, factory: Factory) -> None:
    names = [factory.role(name=name).name for name in ("zebra", "aardvark")]
    user = factory.user(roles=names)
    listed = {entry["id"]: entry for entry in admin_browser.get(USERS).get_json()["items"]}
    assert listed[str(user.id)]["roles"] == ["aardvark", "user", "zebra"]


def test_a_change_to_what_is_so_already_leaves_no_trace(admin_browser: Browser, factory: Factory) -> None:
    user = factory.user(name="Ada")
    assert admin_browser.patch(f"{USERS}/{user.id}", {"name": "Ada"}).status_code == 200
    actions = [entry["action"] for entry in admin_browser.get("/api/v1/audit").get_json()["items"]]
    assert "user.created" in actions
    assert "user.updated" not in actions
