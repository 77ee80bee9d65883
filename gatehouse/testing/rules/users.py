"""Rules about what an extension stores of users: what becomes of it, and what they are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.extensions import db
from gatehouse.testing.queries import count_queries
from gatehouse.testing.rows import Fault

from .subject import Subject


def find_wrong_deletions(subject: Subject) -> Iterator[str]:
    """Deleting a user keeps, refuses or deletes the rows of each model, as the extension says."""
    for model, attributes in subject.list_references():
        policy = subject.extension.on_user_deletion.get(model)
        if policy is None:
            yield f"{model.__name__} refers to users: say in on_user_deletion whether it is to keep, refuse or delete"
            continue
        user, other = subject.factory.user(), subject.factory.user()
        # What it refers to is another's: with it, this row would go too.
        row = subject.rows.make(model, user_id=user.id, parents_user_id=other.id)
        key = sa.inspect(model).primary_key_from_instance(row)
        response = subject.admin.delete(f"/api/v1/users/{user.id}")
        expected = 409 if policy == "refuse" else 204
        if response.status_code != expected:
            yield (
                f"deleting a user of a {model.__name__}, which on_user_deletion wants to {policy}, was answered"
                f" {response.status_code} instead of {expected}: {response.text:.300}"
            )
            continue
        with subject.app.app_context():
            left = db.session.get(model, key)
        if policy == "delete" and left is not None:
            yield f"a {model.__name__} was left when its user was deleted: on_user_deletion says delete"
        elif policy != "delete" and left is None:
            yield f"a {model.__name__} is gone after its user's deletion: on_user_deletion says {policy}"
        elif policy == "keep" and any(getattr(left, attribute) == user.id for attribute in attributes):
            yield f"a {model.__name__} still refers to the user who was deleted: on_user_deletion says keep"


def find_wrong_exports(subject: Subject) -> Iterator[str]:
    """A user's export tells what the rows of that user say, and nothing of others."""
    models = [model.__name__ for model, _ in subject.list_references()]
    if subject.extension.export_user is None:
        if models:
            yield f"{' and '.join(models)} refer to users, who may ask for what is stored of them: give export_user"
        return
    other, owner = subject.factory.user().id, subject.factory.user().id
    before = [_ask(subject, "export_user", user_id) for user_id in (owner, other)]
    for model, _ in subject.list_references():
        subject.rows.make(model, user_id=owner)
    after = [_ask(subject, "export_user", user_id) for user_id in (owner, other)]
    if models and before[0].answer == after[0].answer:
        yield f"export_user says the same whether a user has rows of {' and '.join(models)} or none: tell them"
    if before[1].answer != after[1].answer:
        yield "export_user tells a user what is stored of another: ask for the rows of user_id only"


def find_wrong_descriptions(subject: Subject) -> Iterator[str]:
    """What stands under ``extensions`` in a user's JSON costs one question for a page of users, whoever they are."""
    if subject.extension.describe_users is None:
        return
    ids = [subject.factory.user().id for _ in range(3)]
    for user_id in ids:
        for model, _ in subject.list_references():
            subject.rows.make(model, user_id=user_id)
    one, three = (_ask(subject, "describe_users", asked) for asked in (ids[:1], ids))
    if not one.answer.keys() <= {str(ids[0])}:
        yield "describe_users tells of users whom it was not asked for: add .where(Model.user_id.in_(user_ids))"
    if one.queries_count != three.queries_count:
        yield (
            f"describe_users sends {one.queries_count} queries for one user and {three.queries_count} for three: ask"
            " for all of them at once, with Model.user_id.in_(user_ids)"
        )


class _Asked(NamedTuple):
    answer: Any
    queries_count: int


def _ask(subject: Subject, hook: str, about: object) -> _Asked:
    """Return what a hook answers, as JSON has it, and how many queries it took.

    Raises:
        Fault: it fails, or answers what JSON cannot hold.
    """
    with subject.app.app_context(), count_queries(db.engine) as queries:
        try:
            answer = getattr(subject.extension, hook)(about)
        except Exception as error:
            raise Fault(f"{hook} failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    if hook == "describe_users":
        answer = {str(user_id): described for user_id, described in answer.items()}
    try:
        return _Asked(json.loads(json.dumps(answer)), len(queries))
    except (TypeError, ValueError) as error:
        raise Fault(f"{hook} returns what JSON cannot hold ({error}): make texts of ids, times and decimals") from error
