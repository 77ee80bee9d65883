"""Where it was; see ``gatehouse.testing.servers.postgres``."""

from gatehouse.testing.servers.postgres import *  # noqa: F403
