"""A finished run against the truth.

score_run       against a drawn world; world_truth reads it
score_polygons  against polygons that a user has
score_tiles     the figures of one query, tile by tile
run_ledger      what the run looked at, and what it said
"""
