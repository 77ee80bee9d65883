"""Where it was; see ``gatehouse.testing.servers.redis``."""

from gatehouse.testing.servers.redis import *  # noqa: F403
