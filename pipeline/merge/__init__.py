"""Phase two in tasks: committed block records -> rasters and instances, a bounded piece of the region at a time.

job        what every task knows: where records lie, where results go, how objects are matched
resolve    1 seams of one super-tile   2 one union-find over what crosses   3 relabel one super-tile
audit      between 2 and 3, if asked: objects that contradict one tile's own verdict are taken apart
paint      4 one block: raster shard, rows of objects that end in it, pieces of those that go on
dissolve   5 objects that cross blocks, gathered by the super-tile that owns their id   6 blocks painted again, if some fell away
order      7 rows along the Hilbert curve, part by part

A task is a function (job, key) -> a few numbers. Everything else passes through tables in `RunDir.merge`, so tasks of one
step may run in any order, in any number of processes; steps follow each other (pipeline.publish).
"""
