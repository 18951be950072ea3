"""Measure what gate and verifier cost and keep on a labelled world, and how a checkpoint's boxes are wrong.

calibration           the wiring: two runs, timing, curves
looks_and_truth       what gate and verifier said, beside the truth
costs                 seconds that every model takes
curves                recall against cost
clustered_intervals   intervals of shares when several pairs come from one picture
calibration_page      the document as text and as a picture
box_calibration       the wiring of jobs/calibrate_boxes.py, its document and its page
box_pairs             predicted and true boxes, paired in every frame that the numbers could be in
box_estimates         margins, frames and gains with their intervals
"""
