"""What the rules look at: an extension beside the product, served and with a database."""

from __future__ import annotations

import dataclasses
import functools
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from flask import Flask

from app.extending import Extension
from app.models import list_user_columns
from app.security import Guard, find_guard
from gatehouse.testing.factories import Browser, Factory
from gatehouse.testing.rows import Rows, Values

NOWHERE: Final = "01a205ce-9fce-72c0-a45e-35cac95071fb"
_PARAMETER: Final = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one path of the extension."""

    method: str
    template: str
    """The path as the OpenAPI document has it, with ``{name}`` for each parameter."""
    guard: Guard | None
    described: Mapping[str, Any] | None
    """What the document says, or None."""

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the path with ``values`` for its parameters, and a value that nothing has for the others."""
        return re.sub(r"{(\w+)}", lambda match: quote(values.get(match[1], NOWHERE), safe=""), self.template)


class Subject:
    """An extension that an application serves."""

    def __init__(self, app: Flask, extension: Extension, values: Values) -> None:
        self.app = app
        self.extension = extension
        self.factory = Factory(app)
        self.rows = Rows(app, values)

    @functools.cached_property
    def admin(self) -> Browser:
        """A browser that an administrator has just signed in with."""
        return self.factory.sign_in(self.factory.admin())

    @functools.cached_property
    def document(self) -> dict[str, Any]:
        """The OpenAPI document."""
        document: dict[str, Any] = self.app.test_client().get("/openapi.json").get_json()
        return document

    @functools.cached_property
    def routes(self) -> list[Route]:
        """What the extension serves."""
        names = {blueprint.name for blueprint in self.extension.blueprints}
        return [
            self._describe(method, _PARAMETER.sub(r"{\1}", rule.rule), self.app.view_functions[rule.endpoint])
            for rule in self.app.url_map.iter_rules()
            if rule.endpoint.partition(".")[0] in names
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        ]

    def _describe(self, method: str, template: str, view: object) -> Route:
        described = self.document["paths"].get(template, {}).get(method.lower())
        return Route(method=method, template=template, guard=find_guard(view), described=described)

    @functools.cached_property
    def path_values(self) -> dict[str, str]:
        """The key of a row that exists for each parameter of a path that is called as a model: ``invoice_id``.

        The rows belong to a user who never signs in.
        """
        return self.make_path_values(self.factory.user().id)

    def make_path_values(self, user_id: uuid.UUID) -> dict[str, str]:
        """Make a row of each model, that refers to the user, and return their keys as ``path_values`` does."""
        values = {"user_id": str(user_id)}
        for model in self.extension.models:
            key = sa.inspect(model).primary_key
            if len(key) == 1:
                row = self.rows.make(model, user_id=user_id)
                name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", model.__name__).lower()
                values[f"{name}_id"] = str(sa.inspect(model).primary_key_from_instance(row)[0])
        return values

    def list_references(self) -> Iterator[tuple[type[Any], list[str]]]:
        """Yield each model that refers to users, with the attributes that do."""
        for model in self.extension.models:
            mapper = sa.inspect(model)
            found = [mapper.get_property_by_column(column).key for column in list_user_columns(model.__table__)]
            if found:
                yield model, found
