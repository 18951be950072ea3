"""How good is it?

figures/        metrics of masks and instances, and their intervals
benchmark/      a preset on a benchmark, by the papers' protocols
finished_run/   a finished run against a world or against a user's polygons
calibrate/      what gate and verifier cost and keep
"""
