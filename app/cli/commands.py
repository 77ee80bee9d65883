"""The list of the operator's commands."""

from typing import Final

import click

from .config import config_group
from .doctor import doctor_command
from .extension import extension_group
from .keys import keys_group
from .new import new_group
from .outbox import outbox_group
from .ratelimit import ratelimit_group
from .removal import remove_command
from .role import role_group
from .setup import setup_command
from .transfer import export_users, import_users
from .user import user_group
from .worker import worker_command

extension_group.add_command(remove_command)
user_group.add_command(export_users)
user_group.add_command(import_users)

COMMANDS: Final[tuple[click.Command, ...]] = (
    config_group,
    doctor_command,
    extension_group,
    keys_group,
    new_group,
    outbox_group,
    ratelimit_group,
    role_group,
    setup_command,
    user_group,
    worker_command,
)
