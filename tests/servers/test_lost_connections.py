"""A connection that is lost under a request: wherever nothing was committed yet, the caller does not notice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatehouse.testing.factories import Factory

if TYPE_CHECKING:
    from flask import Flask

    from .harness.proxy import Proxy

# Far more replies than any answer takes.
MOST_REPLIES = 60


def test_no_route_that_only_reads_fails_for_a_connection_that_is_lost_once(proxied_app: tuple[Flask, Proxy]) -> None:
    app, proxy = proxied_app
    factory = Factory(app)
    admin = factory.admin()
    browser = factory.sign_in(admin)
    values = {"user_id": str(admin.id), "name": "admin"}
    rules = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and "/api/v1/" in rule.rule]
    built = [rule.build(values, append_unknown=False) for rule in rules]
    paths = [parts[1] for parts in built if parts is not None]
    assert len(paths) > 8
    for path in paths:
        assert browser.get(path).status_code == 200, path
        for replies in range(MOST_REPLIES):
            proxy.cut_once(after_replies=replies)
            response = browser.get(path)
            assert response.status_code == 200, (path, replies, response.text)
            if not proxy.has_cut:
                break
        else:
            raise AssertionError(f"{path} asks the database too often")
