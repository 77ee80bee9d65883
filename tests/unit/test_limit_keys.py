"""Whom a limit counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.http.limits import token, user

if TYPE_CHECKING:
    from flask import Flask


def test_a_bearer_token_is_counted_and_never_kept(app: Flask) -> None:
    with app.test_request_context(headers={"Authorization": "Bearer s3cret"}):
        first = token.find()
    with app.test_request_context(headers={"Authorization": "bearer s3cret"}):
        assert token.find() == first
    with app.test_request_context(headers={"Authorization": "Bearer other"}):
        assert token.find() != first
    assert len(first) == 32
    assert "s3cret" not in first


def test_who_brings_no_bearer_token_is_not_counted_by_one(app: Flask) -> None:
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}):
        with app.test_request_context(headers=headers):
            assert token.find() == ""


def test_nobody_who_is_not_signed_in_is_counted_by_user(app: Flask) -> None:
    with app.test_request_context():
        assert user.find() == ""
