"""How good is it: a preset on a benchmark by the papers' protocols, and a finished run against the truth.

metrics.py             gIoU, cIoU, P@t, rejection, under named conventions      intervals.py   bootstrap over images
pixel_metrics.py       GeoSeg's seven pixel metrics                             boundary.py    its boundary F-score
benchmark.py           images, targets, wordings; which questions are asked
benchmark_open.py      NAME:PATH -> one of the readers benchmark_*.py           coco_rle.py    masks in annotations
truth_models.py        the truth as prompter and segmenter: tests the protocol itself
sample_steps.py        read, prompt, score: what a few images go through        sample_records.py   what is kept of it
results.py             records -> one document; results_text.py, results_page.py, sample_picture.py show it
overlap.py, truth.py   instances of two id rasters; a finished run against its world, truth_polygons.py   against polygons of a user's
gate_audit.py          what a gate lost, from the sample it did not decide      gate_intervals.py   shares of pairs that hang together
gate_truth.py, gate_costs.py, gate_curves.py, gate_page.py   calibration of gate and verifier
"""
