"""Where it was; see ``gatehouse.testing.servers.mariadb``."""

from gatehouse.testing.servers.mariadb import *  # noqa: F403
