"""Phase one: what a block goes through until its record is committed.

steps        read, prompt, segment, commit: the same objects for both runners
step_rules   how models are treated, in runs and in evaluations
block_rows   blocks, images and answers as rows between Ray's operators
actors       the steps as actors of Ray
attempts     blocks that keep killing their process
progress     tiles done, time left
"""
