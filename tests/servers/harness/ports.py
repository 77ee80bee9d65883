"""Where it was; see ``gatehouse.testing.servers.ports``."""

from gatehouse.testing.servers.ports import *  # noqa: F403
