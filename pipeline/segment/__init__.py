"""See design: stage `segment`."""
