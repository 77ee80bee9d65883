"""The administrators: somebody must always be able to administer."""

import sqlalchemy as sa

from app.extensions import db, retried
from app.models import Role, User
from app.permissions import ADMIN_ROLE
from app.utils import Conflict


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
    admins = sa.select(User.id).join(User.roles).where(Role.name == ADMIN_ROLE, User.is_active).limit(1)
    return db.session.scalar(admins) is not None


def refuse_last_admin(user: User) -> None:
    """Refuse to go on if ``user`` is the only active administrator.

    Raises:
        LastAdmin: it is so.
    """
    if not user.is_active or ADMIN_ROLE not in user.role_names:
        return
    others = (
        sa.select(User.id).join(User.roles).where(Role.name == ADMIN_ROLE, User.is_active, User.id != user.id).limit(1)
    )
    if db.session.scalar(others) is None:
        raise LastAdmin
