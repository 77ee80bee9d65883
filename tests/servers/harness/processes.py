"""Where it was; see ``gatehouse.testing.servers.processes``."""

from gatehouse.testing.servers.processes import *  # noqa: F403
