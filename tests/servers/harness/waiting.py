"""Where it was; see ``gatehouse.testing.servers.waiting``."""

from gatehouse.testing.servers.waiting import *  # noqa: F403
