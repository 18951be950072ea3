"""Measure what gate and verifier cost and keep, threshold by threshold, on a labelled world.

calibration           the wiring: two runs, timing, curves
looks_and_truth       what gate and verifier said, beside the truth
costs                 seconds that every model takes
curves                recall against cost
clustered_intervals   intervals of shares when several pairs come from one picture
calibration_page      the document as text and as a picture
"""
