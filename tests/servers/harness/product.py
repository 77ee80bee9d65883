"""Where it was; see ``gatehouse.testing.servers.product``."""

from app import config
from gatehouse.testing.servers.product import *  # noqa: F403

ROOT = config.ROOT
