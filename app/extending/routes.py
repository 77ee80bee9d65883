"""Checks of the routes that extensions add."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from flask import Blueprint, Flask

from app.ratelimit.limiter import list_rules

from .collisions import Owned
from .extension import Extension
from .product import PRODUCT, Product

_VARIABLE: Final = re.compile(r"<[^>]*>")
_WHOLE_PATH: Final = re.compile(r"<path[:(]")
_ROOTS: Final = frozenset({"/", "/api/", "/api/v1/"})
"""Where paths of several owners begin."""
_APP_WIDE: Final = (
    "before_request_funcs",
    "after_request_funcs",
    "teardown_request_funcs",
    "url_value_preprocessors",
    "url_default_functions",
    "template_context_processors",
    "error_handler_spec",
)
"""What Flask keeps by blueprint, and under None for every route."""
# Flask answers these by itself wherever there is a route.
_IMPLIED: Final = frozenset({"HEAD", "OPTIONS"})


def list_product_routes(product: Product) -> Iterator[Owned]:
    """Yield what the product's routes are called and where they are."""
    yield Owned("path", "GET /static/<>", PRODUCT)
    scratch = _make_scratch()
    for blueprint in product.blueprints:
        scratch.register_blueprint(blueprint)
    yield from _list_routes(PRODUCT, scratch, product.blueprints, product)


def check_routes(
    extension: Extension, product: Product, *, declared: Collection[str], limits: Collection[str], owned: list[Owned]
) -> Iterator[str]:
    """Yield what is wrong with the routes of ``extension``, and add to ``owned`` what they are called.

    Their guards may name what is ``declared``, and their rules ``limits``.
    """
    scratch = _make_scratch()
    registered: list[Blueprint] = []
    before = _list_app_wide(scratch)
    for blueprint in extension.blueprints:
        if not isinstance(blueprint, product.blueprint_class):
            called = getattr(blueprint, "name", blueprint)
            yield f"its blueprint {called!r} is not documented: make it a gatehouse.Blueprint"
            continue
        if not f"{blueprint.name}_".startswith(f"{extension.name}_"):
            own = f"{extension.name}_{blueprint.name}"
            yield f"its blueprint {blueprint.name!r} does not begin with its name: call it {own}"
        try:
            scratch.register_blueprint(blueprint)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the extension's fault
            yield f"its blueprint {blueprint.name!r} cannot be registered: {error}"
        else:
            registered.append(blueprint)
    yield from _find_reaching_out(scratch, before, owned)
    owned += _list_routes(extension.name, scratch, registered, product)
    for endpoint, view in scratch.view_functions.items():
        guard = product.find_guard(view)
        if guard is None:
            yield f"its route {endpoint} has no guard: put @requires(…) or @public on it"
        elif unknown := sorted(guard.permissions.difference(declared)):
            yield f"its route {endpoint} requires {', '.join(unknown)}, which nobody declares: add it to permissions"
    for name in sorted({rule.name for rule in list_rules(scratch) if rule.name is not None}.difference(limits)):
        yield f"a route of it is limited by {name}, which does not exist: there are {', '.join(sorted(limits))}"


def _make_scratch() -> Flask:
    """Return an application for listing routes, which answers nothing."""
    return Flask(__name__, static_folder=None)


def _find_reaching_out(scratch: Flask, before: set[str], owned: Collection[Owned]) -> Iterator[str]:
    """Yield what of ``scratch``, which had only what was there ``before``, would meet requests for others' routes."""
    for hook in sorted(_list_app_wide(scratch) - before):
        yield f"a blueprint of it has a {hook} for the whole application: make it one of the blueprint's own"
    product_paths = [one.name.partition(" ")[2] for one in owned if one.owner == PRODUCT and one.kind == "path"]
    for path in sorted({rule.rule for rule in scratch.url_map.iter_rules() if _is_catch_all(rule.rule, product_paths)}):
        yield f"its route {path} would answer for paths that are not its own: begin it with a word of its own"


def _list_app_wide(app: Flask) -> set[str]:
    """Return what ``app`` has that reaches every route, each by the kind and the name of what is called."""
    found = {f"command {name}" for name in app.cli.commands}
    found |= {f"teardown_appcontext {_name(each)}" for each in app.teardown_appcontext_funcs}
    for kind in _APP_WIDE:
        kept = getattr(app, kind).get(None, ())
        # Of errors: by status, then by class.
        hooks = [hook for by_class in kept.values() for hook in by_class.values()] if isinstance(kept, dict) else kept
        found |= {f"{kind.removesuffix('_funcs').removesuffix('_spec').rstrip('s')} {_name(hook)}" for hook in hooks}
    for kind in ("filters", "tests", "globals"):
        found |= {f"template {kind.rstrip('s')} {name}" for name in getattr(app.jinja_env, kind)}
    return found


def _name(hook: object) -> str:
    return getattr(hook, "__name__", repr(hook))


def _is_catch_all(path: str, product_paths: Collection[str]) -> bool:
    """Say whether a route answers for whatever path there is beside those of the product."""
    whole = _WHOLE_PATH.search(path)
    if whole is not None:
        start = _VARIABLE.sub("<>", path[: whole.start()])
        return any(each.startswith(start) for each in product_paths)
    return "<" in path and path.partition("<")[0] in _ROOTS


def _list_routes(owner: str, scratch: Flask, blueprints: Sequence[Blueprint], product: Product) -> Iterator[Owned]:
    for rule in scratch.url_map.iter_rules():
        # Of two variables in one place only the first route would ever be asked.
        path = _VARIABLE.sub("<>", rule.rule).rstrip("/") or "/"
        for method in sorted((rule.methods or set()) - _IMPLIED):
            yield Owned("path", f"{method} {path}", owner)
    for blueprint in blueprints:
        yield Owned("blueprint", blueprint.name, owner)
        for kind, name in product.list_names(blueprint):
            yield Owned(kind, name, owner)
