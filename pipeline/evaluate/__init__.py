"""See design: stage `evaluate`."""
