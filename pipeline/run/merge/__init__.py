"""Phase two in tasks: committed block records -> rasters and instances, a bounded piece of the region at a
time.

    merge_job       what every task knows: where records lie, where results go, how objects are matched
    resolve_tasks   1 seams of one super-tile   2 one union-find over what crosses   3 relabel one super-tile
    audit_tasks     between 2 and 3, if asked: objects that contradict one tile's own verdict are taken apart
    paint_tasks     4 some blocks: raster shards, rows of objects that end in one, pieces of those that go on
    for_later       what painted blocks file for later tasks
    dissolve_tasks  5 objects that cross blocks become whole   6 blocks painted again, if some fell away
    order_tasks     7 rows along the Hilbert curve, part by part
    object_scenes   which scenes an object was judged on
    finished_rows, tally   rows on their way to instances/*.parquet, and the run's sums
    publish         the steps one after the other, then coverage, catalogue item and report

A task is a function (job, key) -> a few numbers. Everything else passes through tables in `RunDir.merge`.
Tasks of one step may run in any order, in any number of processes; steps follow each other.
"""
