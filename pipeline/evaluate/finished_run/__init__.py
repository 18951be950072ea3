"""Compare a finished run with the truth.

score_run       with a drawn world, which world_truth reads
score_polygons  with polygons that a user has
score_tiles     counts the figures of one query, tile by tile
run_ledger      what the run looked at, and what it answered
"""
