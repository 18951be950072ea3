"""See design: stage `grid`."""
