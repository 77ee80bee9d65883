"""The operator's door: ``flask --app run …``."""
