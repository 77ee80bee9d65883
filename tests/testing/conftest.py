"""What ``project/`` holds is run as its author would run it."""

collect_ignore = ["project"]
