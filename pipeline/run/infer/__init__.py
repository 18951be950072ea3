"""Phase one: what a block goes through until its record is committed.

steps          prompt, segment, commit: the same objects for both runners
read_step      what comes before them
step_rules     how models are treated, in runs and in evaluations
encode_ahead   several tiles in one encoding, for a GPU
shared_models  the models of one process
block_rows     blocks, images and answers as rows between Ray's operators
actors         the steps as actors of Ray
local_steps    the steps in this process, without Ray
apart          the steps in a child process
attempts       which tile kills or hangs its process
deadlines      work that does not come back is left behind
run_breaker    when a run in which tile after tile fails is stopped
block_summary  what the driver is told of a block
progress       tiles done, time left
"""
