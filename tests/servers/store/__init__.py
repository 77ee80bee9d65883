"""What becomes of decisions when a single Redis goes away, by real means."""
