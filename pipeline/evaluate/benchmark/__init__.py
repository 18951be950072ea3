"""A preset on a benchmark.

benchmark           images, targets, wordings; which queries are asked
open_benchmark      NAME[:PATH] -> one of readers/
benchmark_content   pins what was chosen, and decodes every mask once
prepare_benchmark   checks a request, before any model is loaded
sample_steps        read, prompt, score: what a few images go through
score_answer        masks of one answer against the truth
sample_records      what is kept of every answer
truth_models        the truth as prompter and segmenter: tests the protocol itself
results             records -> one document; results_text, results_page and sample_picture show it
run_benchmark       the wiring
"""
