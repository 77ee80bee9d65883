"""Passwords at the command line: never an argument, which every process can see."""

import sys
from typing import Final

import click

from app.security import PASSWORD_MAX_LENGTH

from .terminal import Failure

_MAX_BYTES: Final = 4 * PASSWORD_MAX_LENGTH + 2


def read_password() -> str:
    """Return the password from standard input, without the end of the line.

    Raises:
        Failure: there is none, or it is too long or not UTF-8.
    """
    typed = sys.stdin.buffer.read(_MAX_BYTES + 1)
    if len(typed) > _MAX_BYTES:
        raise Failure(f"password: Longer than {PASSWORD_MAX_LENGTH} characters.")
    try:
        password = typed.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Failure("password: Standard input is not UTF-8.") from error
    password = password.removesuffix("\n").removesuffix("\r")
    if not password:
        raise Failure("password: Standard input is empty.")
    return password


def ask_password() -> str | None:
    """Return the password typed at the terminal; None if it is empty, or if there is no terminal."""
    if not sys.stdin.isatty():
        return None
    typed: str = click.prompt(
        "Password (empty for none)", hide_input=True, confirmation_prompt=True, default="", show_default=False, err=True
    )
    return typed or None


def frame_password(email: str, password: str) -> list[str]:
    """Return the lines that show a generated password, the only time that it is shown."""
    lines = [f"E-mail:   {email}", f"Password: {password}", "", "This is shown once. Change it after signing in."]
    width = max(len(line) for line in lines)
    edge = "+" + "-" * (width + 2) + "+"
    return [edge, *(f"| {line.ljust(width)} |" for line in lines), edge]
