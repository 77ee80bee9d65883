"""Blueprints of extensions that would reach what is not theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.http.openapi import Blueprint
from tests.unit.extending.test_bad_extensions import find_faults, make, make_blueprint


def hook(*_: object) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("add", "named"),
    [
        (lambda each: each.before_app_request(hook), "before_request hook"),
        (lambda each: each.after_app_request(hook), "after_request hook"),
        (lambda each: each.teardown_app_request(hook), "teardown_request hook"),
        (lambda each: each.app_url_value_preprocessor(hook), "url_value_preprocessor hook"),
        (lambda each: each.app_url_defaults(hook), "url_default_function hook"),
        (lambda each: each.app_context_processor(hook), "template_context_processor hook"),
        (lambda each: each.app_errorhandler(404)(hook), "error_handler hook"),
        (lambda each: each.app_errorhandler(ValueError)(hook), "error_handler hook"),
        (lambda each: each.app_template_filter()(hook), "template filter hook"),
        (lambda each: each.app_template_test()(hook), "template test hook"),
        (lambda each: each.app_template_global()(hook), "template global hook"),
        (lambda each: each.cli.command("hook")(hook), "command acme_invoices"),
        (lambda each: each.record(lambda state: state.app.teardown_appcontext(hook)), "teardown_appcontext hook"),
    ],
)
def test_a_hook_for_every_route_is_refused(add: Callable[[Blueprint], Any], named: str) -> None:
    blueprint = make_blueprint()
    add(blueprint)
    (fault,) = find_faults(make(blueprints=[blueprint]))
    assert fault.startswith(f"acme_invoices: a blueprint of it has a {named} for the whole application: make it one of")


def test_the_blueprint_s_own_hooks_are_accepted() -> None:
    blueprint = make_blueprint()
    blueprint.before_request(hook)
    blueprint.errorhandler(404)(hook)
    assert find_faults(make(blueprints=[blueprint])) == []


@pytest.mark.parametrize(
    "path",
    [
        "/<path:rest>",
        "/<word>",
        "/api/<path:rest>",
        "/api/v1/<word>",
        "/api/v1/<word>/<int:number>",
        "/api/v1/auth/<path:rest>",
        "/api/v1/users/<uuid:user_id>/<path:rest>",
    ],
)
def test_a_route_that_answers_for_any_path_is_refused(path: str) -> None:
    (fault,) = find_faults(make(blueprints=[make_blueprint(path)]))
    assert fault == (
        f"acme_invoices: its route {path} would answer for paths that are not its own: begin it with a word of its own"
    )


@pytest.mark.parametrize("path", ["/invoices/<path:file>", "/api/v1/users/<uuid:user_id>/invoices/<path:file>"])
def test_a_route_for_any_path_under_a_word_of_its_own_is_accepted(path: str) -> None:
    assert find_faults(make(blueprints=[make_blueprint(path)])) == []
