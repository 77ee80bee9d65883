"""Roles and permissions, and the audit trail of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.permissions import PERMISSIONS

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from gatehouse.testing.factories import Browser, Factory

ROLES = "/api/v1/roles"
USERS = "/api/v1/users"


def assert_refused(response: TestResponse, status: int, code: str) -> None:
    """Expect a problem."""
    assert (response.status_code, response.get_json()["code"]) == (status, code), response.text


def test_a_role_is_made_read_changed_and_deleted(admin_browser: Browser) -> None:
    body = {"name": "support", "description": "Helps", "permissions": ["users:read", "audit:read"]}
    made = admin_browser.post(ROLES, body)
    assert made.status_code == 201
    assert made.get_json()["permissions"] == ["audit:read", "users:read"]
    assert made.get_json()["built_in"] is False
    assert admin_browser.get(f"{ROLES}/support").get_json() == made.get_json()
    changed = admin_browser.patch(f"{ROLES}/support", {"permissions": ["users:read", "users:write"]})
    assert (changed.get_json()["permissions"], changed.get_json()["description"]) == (
        ["users:read", "users:write"],
        "Helps",
    )
    assert admin_browser.patch(f"{ROLES}/support", {"description": "x"}).get_json()["description"] == "x"
    assert [role["name"] for role in admin_browser.get(ROLES).get_json()["items"]] == ["admin", "support", "user"]
    assert admin_browser.delete(f"{ROLES}/support").status_code == 204
    for response in (
        admin_browser.get(f"{ROLES}/support"),
        admin_browser.patch(f"{ROLES}/support", {}),
        admin_browser.delete(f"{ROLES}/support"),
        admin_browser.get(f"{ROLES}/sup%00port"),
    ):
        assert_refused(response, 404, "role_not_found")


def test_the_permissions_there_are_can_be_read(admin_browser: Browser) -> None:
    items = admin_browser.get("/api/v1/permissions").get_json()["items"]
    assert {item["name"]: item["description"] for item in items} == dict(PERMISSIONS)


@pytest.mark.parametrize(
    ("permission", "method", "path"),
    [
        ("roles:read", "GET", ROLES),
        ("roles:read", "GET", f"{ROLES}/user"),
        ("roles:read", "GET", "/api/v1/permissions"),
        ("roles:write", "POST", ROLES),
        ("roles:write", "PATCH", f"{ROLES}/user"),
        ("roles:write", "DELETE", f"{ROLES}/user"),
        ("audit:read", "GET", "/api/v1/audit"),
    ],
)
def test_every_route_wants_its_permission_and_no_other(
    factory: Factory, permission: str, method: str, path: str
) -> None:
    without = factory.sign_in(factory.user(roles=[factory.role(*(PERMISSIONS.keys() - {permission})).name]))
    assert_refused(without.send(method, path, {} if method != "GET" else None), 403, "permission_missing")
    granted = factory.sign_in(factory.user(roles=[factory.role(permission).name]))
    assert granted.send(method, path, {} if method != "GET" else None).status_code in {200, 409, 422}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "Admin"),
        ("name", "a b"),
        ("name", "a\n"),
        ("name", "a/b"),
        ("name", "a" * 65),
        ("name", "\uff41"),
        ("name", None),
        ("description", "x" * 501),
        ("permissions", ["users:nothing"]),
        ("permissions", ["users:read", "*"]),
        ("permissions", "users:read"),
        ("permissions", [["users:read"]]),
        ("permissions", None),
        ("built_in", True),
        ("id", "x"),
    ],
)
def test_a_role_that_cannot_be_is_refused_by_field(admin_browser: Browser, field: str, value: object) -> None:
    response = admin_browser.post(ROLES, {"name": "support", "permissions": []} | {field: value})
    assert response.status_code == 422
    assert {name.partition(".")[0] for name in response.get_json()["errors"]} == {field}
    assert_refused(admin_browser.get(f"{ROLES}/support"), 404, "role_not_found")


def test_a_name_is_taken_once(admin_browser: Browser) -> None:
    assert_refused(admin_browser.post(ROLES, {"name": "admin"}), 409, "role_exists")
    assert_refused(admin_browser.post(ROLES, {"name": "user"}), 409, "role_exists")


def test_built_in_roles_stay_and_admin_holds_every_permission(admin_browser: Browser) -> None:
    for name in ("admin", "user"):
        assert_refused(admin_browser.delete(f"{ROLES}/{name}"), 409, "built_in_role")
    for permissions in ([], ["users:read"]):
        assert_refused(admin_browser.patch(f"{ROLES}/admin", {"permissions": permissions}), 409, "built_in_role")
    assert admin_browser.patch(f"{ROLES}/admin", {"permissions": sorted(PERMISSIONS)}).status_code == 200
    role = admin_browser.get(f"{ROLES}/admin").get_json()
    assert (role["permissions"], role["built_in"]) == (sorted(PERMISSIONS), True)
    assert_refused(admin_browser.patch(f"{ROLES}/admin", {"name": "x"}), 422, "invalid_input")


def test_a_change_of_a_role_acts_on_the_very_next_request(admin_browser: Browser, factory: Factory) -> None:
    role = factory.role("users:read").name
    browser = factory.sign_in(factory.user(roles=[role]))
    assert browser.get(USERS).status_code == 200
    assert admin_browser.patch(f"{ROLES}/{role}", {"permissions": []}).status_code == 200
    assert_refused(browser.get(USERS), 403, "permission_missing")
    assert admin_browser.patch(f"{ROLES}/{role}", {"permissions": ["users:read"]}).status_code == 200
    assert browser.get(f"{USERS}/me").get_json()["permissions"] == ["users:read"]
    assert browser.get(USERS).status_code == 200
    assert admin_browser.delete(f"{ROLES}/{role}").status_code == 204
    assert_refused(browser.get(USERS), 403, "permission_missing")


def test_nobody_puts_into_a_role_or_takes_out_what_they_do_not_hold(factory: Factory) -> None:
    own = factory.role("roles:read", "roles:write", "users:read").name
    stronger = factory.role("audit:read", "users:read").name
    browser = factory.sign_in(factory.user(roles=[own]))
    for response in (
        browser.post(ROLES, {"name": "new", "permissions": ["users:read", "audit:read"]}),
        browser.patch(f"{ROLES}/{own}", {"permissions": ["roles:write", "roles:read", "users:read", "roles:assign"]}),
        browser.patch(f"{ROLES}/user", {"permissions": ["users:write"]}),
        browser.patch(f"{ROLES}/{stronger}", {"permissions": ["users:read"]}),
        browser.patch(f"{ROLES}/{stronger}", {"permissions": []}),
        browser.delete(f"{ROLES}/{stronger}"),
    ):
        assert_refused(response, 403, "ungrantable_permission")
    for name in (stronger, "admin"):
        assert_refused(browser.patch(f"{ROLES}/{name}", {"description": "For all"}), 403, "ungrantable_permission")
    assert browser.patch(f"{ROLES}/user", {"description": "For all"}).status_code == 200
    # What stays in a role was somebody else's to give.
    kept = browser.patch(f"{ROLES}/{stronger}", {"permissions": ["audit:read"]})
    assert kept.get_json()["permissions"] == ["audit:read"]
    assert browser.post(ROLES, {"name": "new", "permissions": ["users:read"]}).status_code == 201


# --- the audit trail ---


def list_actions(browser: Browser, query: str = "") -> list[str]:
    """Return the actions of the trail, the oldest first."""
    items: list[dict[str, Any]] = browser.get(f"/api/v1/audit?limit=200&{query}").get_json()["items"]
    return [item["action"] for item in reversed(items)]


def test_every_change_is_in_the_trail_with_who_and_whom(
    admin_browser: Browser, factory: Factory, admin: Any, user: Any
) -> None:
    target = f"{USERS}/{user.id}"
    browser = factory.sign_in(user)
    admin_browser.post(ROLES, {"name": "support", "permissions": ["users:read"]})
    admin_browser.patch(f"{ROLES}/support", {"permissions": []})
    admin_browser.put(f"{target}/roles/support")
    admin_browser.delete(f"{target}/roles/support")
    admin_browser.delete(f"{ROLES}/support")
    admin_browser.patch(target, {"name": "x"})
    admin_browser.delete(f"{target}/sessions")
    admin_browser.post(f"{target}/unlock")
    admin_browser.delete(target)
    del browser
    items = admin_browser.get(f"/api/v1/audit?actor={admin.id}&limit=200").get_json()["items"]
    assert [(item["action"], item["target"], item["details"]) for item in reversed(items)] == [
        ("session.started", str(admin.id), {}),
        ("role.created", "support", {"permissions": ["users:read"]}),
        ("role.updated", "support", {"permissions": []}),
        ("role.assigned", str(user.id), {"role": "support"}),
        ("role.revoked", str(user.id), {"role": "support"}),
        ("role.deleted", "support", {}),
        ("user.updated", str(user.id), {"fields": ["name"]}),
        ("session.all_ended", str(user.id), {}),
        ("user.unlocked", str(user.id), {}),
        ("user.deleted", str(user.id), {}),
    ]
    assert {item["ip"] for item in items} == {"127.0.0.1"}


def test_what_people_do_themselves_is_in_the_trail_refusals_included(
    admin_browser: Browser, factory: Factory, user: Any
) -> None:
    other, changed = "velvet anchor mosaic thunder", "cobalt meadow ferry lichen"
    browser = factory.sign_in(user)
    browser.post("/api/v1/auth/reauthenticate", {"password": "wrong"})
    browser.post("/api/v1/auth/reauthenticate", {"password": "turnip lantern gravel osprey"})
    browser.patch(f"{USERS}/me", {"name": "x"})
    browser.patch(f"{USERS}/me", {"name": "x"})
    body = {"current_password": "turnip lantern gravel osprey", "new_password": other}
    browser.post("/api/v1/auth/password/change", body)
    browser.delete(f"{USERS}/me/sessions")
    browser.post("/api/v1/auth/login", {"email": user.email, "password": changed})
    browser.post("/api/v1/auth/logout")
    assert list_actions(admin_browser, f"target={user.id}") == [
        "user.created",
        "session.started",
        "session.reauthentication_refused",
        "session.reauthenticated",
        "user.renamed",
        "password.changed",
        "session.all_ended",
        "session.refused",
        "session.signed_out",
    ]


def test_a_refused_change_leaves_no_entry(admin_browser: Browser, admin: Any) -> None:
    before = list_actions(admin_browser)
    admin_browser.delete(f"{USERS}/{admin.id}")
    admin_browser.delete(f"{ROLES}/admin")
    admin_browser.post(ROLES, {"name": "admin"})
    admin_browser.post(USERS, {"email": admin.email})
    assert list_actions(admin_browser) == before


def test_the_trail_is_filtered_and_paged(admin_browser: Browser, admin: Any, factory: Factory) -> None:
    for _ in range(3):
        factory.user(password=None)
    assert list_actions(admin_browser, "action=user.created") == ["user.created"] * 4
    assert list_actions(admin_browser, f"action=session.started&target={admin.id}") == ["session.started"]
    instant = admin_browser.get("/api/v1/audit").get_json()["items"][1]["created_at"].replace("+", "%2B")
    assert len(list_actions(admin_browser, f"since={instant}")) == 2
    everything = admin_browser.get("/api/v1/audit?limit=200").get_json()["items"]
    assert len(list_actions(admin_browser, f"until={instant}")) == len(everything) - 2
    paged, cursor = [], ""
    while True:
        page = admin_browser.get(f"/api/v1/audit?limit=2{cursor}").get_json()
        paged += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert paged == everything
    for query in (
        "since=yesterday",
        "until=2026-01-01T00:00:00",
        "actor=x",
        "limit=0",
        "target=%0a",
        "ip=1",
        "cursor=x",
        "since=0001-01-01T00:00:00%2B14:00",
        "until=9999-12-31T23:59:59-14:00",
    ):
        response = admin_browser.get(f"/api/v1/audit?{query}")
        assert (response.status_code, list(response.get_json()["errors"])) == (422, [query.partition("=")[0]])
