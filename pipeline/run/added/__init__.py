"""Queries that are added to a finished run: only they are asked, and everything else stays.

run_again      a run once more, from its run.json and its plan: what it was asked, with which models, where
asked_before   what a run was asked before, and the blocks that need the new queries alone
plan_added     checks everything before a model is loaded
claim_added    takes the run directory, and says in run.json what the run becomes
add_flow       the wiring
added_zones    the same for a run of several zones
"""
