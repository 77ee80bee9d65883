"""Real servers and real faults, started and stopped by the tests that need them."""
