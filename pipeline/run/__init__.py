"""One run, from a request to published results.

config         presets, a user's TOML and the command line -> one run's parameters
choose_runner  Ray or this process
job_options    options of the command line that several jobs share; args_file takes them from a file
prepare        plans and checks a request, before any model is loaded
flow           the wiring of the two phases, on Ray or in this process
ray_engine     actors and tasks on Ray; the only module that imports ray
infer/         phase one: block -> read -> prompt -> segment -> committed block record
merge/         phase two: block records -> rasters, instances, coverage, report
screen         what a person sees of a run; all else goes to its log
zones/         scenes of several CRSs: a run per zone, then one result of all
restitch       phase two alone, on the records of an earlier run
summary        what is printed before and after
budget         what a run may cost; forecast estimates it from one that was measured
progress_line  one line that says how far a step has come
job_exit       how a job ends: exit code and last line
"""
