"""See design: stage `world`."""
