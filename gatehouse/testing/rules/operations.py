"""Rules about what an extension serves: guards, documents, and answers to what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gatehouse.testing import bad_input
from gatehouse.testing.factories import Browser

from .subject import Route, Subject


def find_unguarded(subject: Subject) -> Iterator[str]:
    """A stranger is refused wherever the view does not say @public."""
    stranger = Browser(subject.app)
    for route in subject.routes:
        if route.guard is None:
            yield f"{route} has no guard: put @requires(…) or @public above its view"
        elif not route.guard.is_public:
            response = call(stranger, route, route.fill(subject.path_values))
            if response.status_code != 401:
                yield f"{route} answered a stranger {response.status_code} instead of 401: put @requires(…) above it"


def find_unchecked_permissions(subject: Subject) -> Iterator[str]:
    """A caller without the permission is refused, and so is one who asks for what is somebody else's."""
    caller = subject.factory.sign_in(subject.factory.user())
    for route in subject.routes:
        guard = route.guard
        if guard is None or guard.is_public or not guard.permissions:
            continue
        if getattr(guard, "or_own", None) is not None and "{" not in route.template:
            continue  # a list, in which callers see their own
        response = call(caller, route, route.fill(subject.path_values))
        if response.status_code not in {403, 404}:
            needs = ", ".join(sorted(guard.permissions))
            yield f"{route} answered {response.status_code} to a caller without {needs} instead of 403: check its guard"


def find_undocumented(subject: Subject) -> Iterator[str]:
    """Each operation has a summary, and each answer that has a body a schema."""
    for route in subject.routes:
        if route.described is None:
            yield f"{route} is not in the OpenAPI document: route it with a gatehouse.Blueprint"
            continue
        if not route.described.get("summary"):
            yield f"{route} has no summary: give its view a docstring"
        answers = {status: each for status, each in route.described["responses"].items() if status[0] in "23"}
        if not answers:
            yield f"{route} does not say what it answers: put @blueprint.response(200, SomeOutput) above its view"
        for status, answer in answers.items():
            kinds = answer.get("content", {})
            if status not in {"204", "304"} and not any("schema" in kind for kind in kinds.values()):
                yield f"{route} does not say what is in its answer {status}: name its schema in @blueprint.response"


def find_undeclared_answers(subject: Subject) -> Iterator[str]:
    """Called as its example says, an operation answers what it declares, for what exists and for what does not."""
    for route in subject.routes:
        if route.described is None:
            continue
        example = _find_example(subject, route)
        made = subject.make_path_values(subject.factory.user().id)
        for values in (made, {}) if "{" in route.template else ({},):
            response = call(subject.admin, route, route.fill(values), example)
            fault = _judge(subject, route.described, response)
            if fault:
                yield f"{route}, called as its example says, answered {response.status_code} {fault}"


def _judge(subject: Subject, described: Mapping[str, Any], response: Any) -> str | None:
    """Return what is wrong with the answer, or None."""
    declared = described["responses"].get(str(response.status_code))
    if declared is not None and "$ref" in declared:
        declared = subject.document["components"]["responses"][declared["$ref"].rpartition("/")[2]]
    is_problem = response.content_type == "application/problem+json"
    if response.status_code >= 500:
        return f"({response.text:.200}): see the log above for the error"
    if declared is None:
        code = response.get_json()["code"] if is_problem else "with no error of ours"
        return f"({code}), which it does not declare: put @blueprint.raises(…) above its view"
    if is_problem and f"`{response.get_json()['code']}`" not in declared["description"]:
        return f"({response.get_json()['code']}), which it does not declare: put @blueprint.raises(…) above its view"
    return None


def find_accepted_bad_input(subject: Subject) -> Iterator[str]:
    """Whatever is wrong in a body or a query is refused by the name of its field, and nothing is stored."""
    routes = {str(route) for route in subject.routes}
    # Made before stock is taken.
    admin = subject.admin

    def send(method: str, path: str, **options: Any) -> Any:
        return admin.get(path) if method == "GET" else admin.send(method, path, **options)

    for operation in bad_input.list_operations(subject.document, subject.path_values):
        if str(operation) in routes:
            try:
                bad_input.assert_refuses_bad_input(subject.app, operation, send)
            except AssertionError as error:
                yield str(error).partition("\nassert ")[0]


def _find_example(subject: Subject, route: Route) -> Any:
    operations = bad_input.list_operations(subject.document, subject.path_values)
    return next((operation.body for operation in operations if str(operation) == str(route)), None)


def call(browser: Browser, route: Route, path: str, body: Any = None) -> Any:
    """Call the route."""
    return browser.get(path) if route.method == "GET" else browser.send(route.method, path, body or {})
