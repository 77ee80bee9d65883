"""The administrators: somebody must always be able to administer."""

from typing import Final

import sqlalchemy as sa

from app.extensions import db, retried
from app.models import Role, User
from app.permissions import ADMIN_ROLE
from app.utils import Conflict

# Who leaves is not counted on.
_ACTIVE: Final = (
    sa.select(User.id)
    .join(User.roles)
    .where(Role.name == ADMIN_ROLE, User.is_active, User.deletion_due_at.is_(None))
    .limit(1)
)


class LastAdmin(Conflict):
    """Nobody could administer afterwards."""

    title = "Last administrator"
    detail = "This is the last active administrator. Give somebody else the role admin first."


def lock_admins() -> None:
    """Make whoever else wants to take an administrator away wait until this transaction ends.

    Call it first in the transaction: on MySQL what is read before it is read from an older snapshot.
    """
    db.session.execute(sa.select(Role.id).where(Role.name == ADMIN_ROLE).with_for_update())


@retried
def has_active_admin() -> bool:
    """Say whether there is anybody who can administer."""
    return db.session.scalar(_ACTIVE) is not None


def refuse_last_admin(user: User) -> None:
    """Refuse to go on if ``user`` is the only active administrator.

    Raises:
        LastAdmin: it is so.
    """
    is_admin = user.is_active and ADMIN_ROLE in user.role_names
    if is_admin and db.session.scalar(_ACTIVE.where(User.id != user.id)) is None:
        raise LastAdmin
