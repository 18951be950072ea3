"""Measure how good the results are.

figures/        metrics of masks and instances, and their intervals
benchmark/      evaluates a preset on a benchmark, by the papers' protocols
ablate/         compares variants of a preset, beside the papers' ablations
finished_run/   compares a finished run with a world or with a user's polygons
calibrate/      measures what gate and verifier cost and keep, and how a checkpoint's boxes are wrong
judge/          lets a vision-language model rate the masks
"""
