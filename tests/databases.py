"""Where it was; see ``gatehouse.testing.databases``."""

from gatehouse.testing.databases import *  # noqa: F403
