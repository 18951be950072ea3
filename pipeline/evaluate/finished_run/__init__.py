"""A finished run against the truth: score_run for a drawn world, score_polygons for polygons that a user has."""
