"""Accounts one by one, and roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.services import audit
from gatehouse.testing.factories import PASSWORD, Browser, Factory
from tests.cli.conftest import Operator

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

    from gatehouse.testing.mailbox import Mailbox

NEW_PASSWORD = "copper meadow saffron tundra"


def list_actions(app: Flask) -> list[str]:
    with app.app_context():
        return [entry.action for entry in audit.list_entries(limit=50).items]


def sign_in(app: Flask, email: str, password: str) -> int:
    return Browser(app).post("/api/v1/auth/login", {"email": email, "password": password}).status_code


def test_an_account_is_made_with_a_role_and_a_password_from_standard_input(app: Flask, operator: Operator) -> None:
    made = operator.do(
        "user",
        "create",
        "Ada@Example.com",
        "--name",
        "Ada",
        "--role",
        "admin",
        "--password-stdin",
        stdin=f"{PASSWORD}\n",
    )
    assert made["email"] == "ada@example.com"
    assert made["name"] == "Ada"
    assert made["roles"] == ["admin", "user"]
    assert sign_in(app, "ada@example.com", PASSWORD) == 200
    assert {"user.created", "role.assigned"} <= set(list_actions(app))


def test_without_a_terminal_an_account_has_no_password(app: Flask, operator: Operator) -> None:
    result = operator.run("user", "create", "ada@example.com")
    assert "It has no password yet." in result.stdout
    assert sign_in(app, "ada@example.com", PASSWORD) == 401


def test_a_terminal_is_asked_for_the_password_twice_and_never_shows_it(
    app: Flask, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.passwords.sys", _Terminal())
    result = operator.run("user", "create", "ada@example.com", stdin=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output
    assert sign_in(app, "ada@example.com", PASSWORD) == 200


class _Terminal:
    """Stands in for ``sys`` with a terminal as standard input."""

    class stdin:  # noqa: N801 - the name it stands in for
        @staticmethod
        def isatty() -> bool:
            return True


@pytest.mark.parametrize(
    ("stdin", "reason"),
    [
        (b"", "password: Standard input is empty."),
        (b"\n", "password: Standard input is empty."),
        (b"short", "password: Use at least 15 characters."),
        (b"\xff\xfe turnip lantern gravel", "password: Standard input is not UTF-8."),
        (b"turnip\0lantern gravel osprey", "password: This contains characters that are not allowed here."),
        (b"turnip lantern\ngravel osprey", "password: This contains characters that are not allowed here."),
        (b"x" * 257, "password: Length must be between 1 and 256."),
        (b"x" * 5000, "password: Longer than 256 characters."),
    ],
)
@pytest.mark.parametrize("command", ["create", "reset-password"])
def test_a_bad_password_is_named_and_nothing_is_stored(
    app: Flask, operator: Operator, factory: Factory, stdin: bytes, reason: str, command: str
) -> None:
    if command == "reset-password":
        factory.user(email="ada@example.com")
    assert operator.fail("user", command, "ada@example.com", "--password-stdin", stdin=stdin) == reason
    assert sign_in(app, "ada@example.com", PASSWORD) == (200 if command == "reset-password" else 401)


def test_an_account_with_a_role_that_is_none_is_not_made(operator: Operator) -> None:
    assert operator.fail("user", "create", "ada@example.com", "--role", "pilot") == "There is no role with this name."
    assert operator.do("user", "list")["items"] == []


def test_an_address_is_taken_once(operator: Operator) -> None:
    operator.do("user", "create", "ada@example.com")
    assert operator.fail("user", "create", "ADA@example.com").startswith("There is an account with this address.")


@pytest.mark.parametrize(
    "email", ["nobody", "a@b@c", "", "ada@example.com\0", "\udcff@example.com", "a" * 300 + "@x.example"]
)
@pytest.mark.no_database
def test_an_argument_that_is_not_an_email_address_is_a_usage_error(operator: Operator, email: str) -> None:
    result = operator.run("user", "grant", email, "admin")
    assert result.exit_code == 2
    assert "is not an e-mail address" in result.stderr


@pytest.mark.parametrize(
    "args",
    [("grant", "admin"), ("revoke", "admin"), ("deactivate",), ("activate",), ("reset-password",)],
    ids=lambda args: args[0],
)
def test_an_unknown_address_is_one_clear_line(operator: Operator, args: tuple[str, ...]) -> None:
    assert operator.fail("user", args[0], "nobody@example.com", *args[1:]) == "There is no user with this address."


def test_users_are_listed_by_name_and_role_up_to_a_limit(operator: Operator, factory: Factory) -> None:
    factory.user(email="ada@example.com", name="Ada")
    factory.admin(email="bob@example.com")
    factory.user(email="cy@example.com")
    assert [each["email"] for each in operator.do("user", "list", "--q", "ADA")["items"]] == ["ada@example.com"]
    assert [each["email"] for each in operator.do("user", "list", "--role", "admin")["items"]] == ["bob@example.com"]
    some = operator.do("user", "list", "--limit", "2")
    assert [each["email"] for each in some["items"]] == ["ada@example.com", "bob@example.com"]
    assert some["has_more"]
    assert operator.fail("user", "list", "--role", "pilot") == "There is no role with this name."


def test_what_somebody_called_themselves_cannot_reach_the_terminal(operator: Operator, factory: Factory) -> None:
    factory.user(name="\x1b[2J\rroot\u202e\nall is well")
    table = operator.run("user", "list").stdout
    assert len(table.splitlines()) == 2
    assert table.replace("\n", "").isprintable()
    assert r"\x1b[2J\rroot\u202e\nall is well" in table


def test_roles_are_granted_and_revoked_again_and_again(app: Flask, operator: Operator, factory: Factory) -> None:
    factory.admin()
    factory.user(email="ada@example.com")
    for _ in range(2):
        assert operator.do("user", "grant", "ada@example.com", "admin")["roles"] == ["admin", "user"]
    for _ in range(2):
        assert operator.do("user", "revoke", "ada@example.com", "admin")["roles"] == ["user"]
    assert list_actions(app).count("role.revoked") == 1


@pytest.mark.parametrize("args", [("deactivate",), ("revoke", "admin")], ids=lambda args: args[0])
def test_the_last_administrator_stays_one(operator: Operator, factory: Factory, args: tuple[str, ...]) -> None:
    factory.admin(email="ada@example.com")
    assert "last active administrator" in operator.fail("user", args[0], "ada@example.com", *args[1:])


def test_a_deactivated_account_is_signed_out_until_it_is_activated(
    app: Flask, operator: Operator, user: Any, user_browser: Browser
) -> None:
    operator.do("user", "deactivate", user.email)
    assert user_browser.get("/api/v1/users/me").status_code == 401
    assert sign_in(app, user.email, PASSWORD) == 401
    operator.do("user", "activate", user.email)
    assert sign_in(app, user.email, PASSWORD) == 200
    assert "user.updated" in list_actions(app)


def test_a_made_up_password_is_shown_once_and_ends_every_session(
    app: Flask, operator: Operator, user: Any, user_browser: Browser
) -> None:
    invented = operator.do("user", "reset-password", user.email)["password"]
    assert user_browser.get("/api/v1/users/me").status_code == 401
    assert sign_in(app, user.email, PASSWORD) == 401
    assert sign_in(app, user.email, invented) == 200
    assert "password.reset" in list_actions(app)


def test_a_given_password_is_set_and_not_repeated(app: Flask, operator: Operator, user: Any) -> None:
    result = operator.run("user", "reset-password", user.email, "--password-stdin", stdin=NEW_PASSWORD)
    assert NEW_PASSWORD not in result.output
    assert sign_in(app, user.email, NEW_PASSWORD) == 200


def test_a_made_up_password_passes_the_strictest_policy(make_app: Any) -> None:
    from tests.cli.conftest import Operator  # noqa: PLC0415

    strict = Operator(make_app(PASSWORD_MIN_LENGTH="64"))
    strict.do("user", "create", "ada@example.com")
    assert len(strict.do("user", "reset-password", "ada@example.com")["password"]) >= 64


def test_a_role_is_made_changed_and_listed(app: Flask, operator: Operator) -> None:
    assert operator.do("role", "set", "support", "users:read")["permissions"] == ["users:read"]
    assert operator.do("role", "set", "support", "users:read", "audit:read")["permissions"] == [
        "audit:read",
        "users:read",
    ]
    assert [each["name"] for each in operator.do("role", "list")] == ["admin", "support", "user"]
    assert {"role.created", "role.updated"} <= set(list_actions(app))
    assert "support" in operator.run("role", "list").stdout


def test_a_role_cannot_be_set_to_what_is_none_and_admin_not_at_all(operator: Operator) -> None:
    assert "users:read" in operator.fail("role", "set", "support", "users:fly")
    assert operator.run("role", "set", "support").exit_code == 2
    assert operator.fail("role", "set", "Not A Name", "users:read").startswith("name: ")
    assert "admin always holds every permission" in operator.fail("role", "set", "admin", "users:read")


@pytest.mark.no_database
def test_an_unexpected_error_is_one_line_without_its_text(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyError("postgresql://user:secret@host/db")

    monkeypatch.setattr("app.services.roles.list_roles", fail)
    line = operator.fail("role", "list")
    assert line.startswith("Unexpected KeyError")
    assert "secret" not in operator.run("role", "list").output


def test_a_terminal_of_another_encoding_still_gets_every_line(operator: Operator, factory: Factory) -> None:
    factory.user(name="Žofie")
    result = operator.app.test_cli_runner(charset="latin-1").invoke(args=["user", "list"])
    assert result.exit_code == 0
    assert b"\\u017dofie" in result.stdout_bytes


def test_an_account_that_was_guessed_at_too_often_is_unlocked(make_app: Callable[..., Flask]) -> None:
    app = make_app(GUESSES_MAX="10")
    operator, user = Operator(app), Factory(app).user()
    for _ in range(10):
        assert sign_in(app, user.email, "not it") == 401
    assert sign_in(app, user.email, PASSWORD) == 429
    assert operator.do("user", "unlock", user.email) == {"email": user.email, "unlocked": True}
    assert sign_in(app, user.email, PASSWORD) == 200
    assert "user.unlocked" in list_actions(app)
    assert "There is no user with this address." in operator.fail("user", "unlock", "nobody@example.com")


def test_unlocking_tells_what_servers_keep_in_memory(make_app: Callable[..., Flask]) -> None:
    app = make_app(RATELIMIT_ENABLED="true")
    result = Operator(app).run("user", "unlock", Factory(app).user().email)
    assert "memory://" in result.stderr


def test_an_operator_has_a_link_mailed_with_which_the_owner_chooses_a_password(
    operator: Operator, factory: Factory, mailbox: Mailbox
) -> None:
    user = factory.user()
    assert operator.do("user", "reset-password", user.email, "--mail") == {"email": user.email, "password": None}
    assert mailbox.deliver() == ["sent"]
    assert mailbox.find_token(user.email)
    assert operator.run("user", "reset-password", user.email, "--mail", "--password-stdin").exit_code == 2


def test_an_operator_requires_another_password_and_lifts_it(operator: Operator, factory: Factory) -> None:
    user = factory.user()
    for option, status in ((), 403), (("--lift",), 200):
        operator.run("user", "require-password-change", user.email, *option)
        assert factory.sign_in(user).get("/api/v1/users/me/sessions").status_code == status
