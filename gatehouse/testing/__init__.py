"""What tests of an extension need: a pytest plugin with the product on databases, and rules to hold an extension to."""

from .clock import Clock
from .factories import PASSWORD, Browser, Factory
from .fixtures import AssertExtension
from .mailbox import Mailbox

__all__ = ["PASSWORD", "AssertExtension", "Browser", "Clock", "Factory", "Mailbox"]

pytest_plugins = ["pytest_gatehouse", "gatehouse.testing.plugin", "gatehouse.testing.fixtures"]
