"""See design: stage `load`."""
