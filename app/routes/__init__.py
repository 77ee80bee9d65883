"""The HTTP API, one blueprint a file and named as its file.

To add one, write a module with a ``blueprint`` and list it in ``BLUEPRINTS``.
"""

from typing import Final

from app.http.openapi import Blueprint

from . import (
    audit,
    auth,
    docs,
    email_change,
    health,
    invitation,
    mail_sign_in,
    me,
    notice,
    outbox,
    page,
    password,
    proof_of_work,
    ratelimit,
    role,
    user,
    verification,
)

BLUEPRINTS: Final[tuple[Blueprint, ...]] = tuple(
    module.blueprint
    for module in (
        auth,
        proof_of_work,
        mail_sign_in,
        me,
        verification,
        password,
        email_change,
        notice,
        user,
        role,
        invitation,
        outbox,
        ratelimit,
        audit,
        health,
        docs,
        page,
    )
)
