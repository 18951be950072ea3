"""See design: stage `write`."""
