"""The tests of the product and of its examples ask for what the tests of extensions ask for."""

pytest_plugins = ["gatehouse.testing"]
