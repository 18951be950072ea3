"""See design: stage `stitch`."""
