"""Evaluate a preset on a benchmark.

benchmark           images, targets, wordings; chooses the queries to ask
open_benchmark      NAME[:PATH] -> one of readers/
benchmark_content   fingerprints what was chosen, and decodes every mask once
prepare_benchmark   checks a request, before any model is loaded
sample_steps        read, prompt, score, for a few images at a time
score_answer        compares the masks of one answer with the truth
sample_records      what is kept of every answer
truth_models        prompter and segmenter that know the truth, to test the protocol itself
oracle_noise        mistakes of given size in its prompts
oracle_routes       a segmenter that knows the truth, sees only boxes, and errs by a given size
kept_answers        a prompter's answers, for evaluations that ask the same
evaluation_models   the commits of its models that come from the hub
results             records -> one document; results_text, results_page and sample_picture show it
run_benchmark       the wiring
"""
