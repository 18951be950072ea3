"""What happened in a run, start by start, and where its time went.

stage_times    how long a worker was at what, sent along with a block
event_log      one line per event, in logs/ of the run
run_metrics    what Prometheus sees of a run at work, from its events
traffic_text   what it asked of servers, in words
run_costs      seconds, tiles, tokens, devices and money of a run, from its events
explain_run    the same in words, with what failed and what to do
"""
