"""Phase one: what a block goes through until its record is committed.

steps        read, prompt, segment, commit: the same objects for both runners
step_rules   how models are treated, in runs and in evaluations
block_rows   blocks, images and answers as rows between Ray's operators
actors       the steps as actors of Ray
read_step    the first of them
local_steps  the steps in this process, without Ray
apart        the steps in a child process
attempts     which tile kills or hangs its process
deadlines    work that does not come back is left behind
run_breaker  when a run in which tile after tile fails is stopped
progress     tiles done, time left
"""
