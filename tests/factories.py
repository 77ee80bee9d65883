"""Where it was; see ``gatehouse.testing.factories``."""

from gatehouse.testing.factories import *  # noqa: F403
