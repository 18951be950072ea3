"""Stage 5: masks of all tiles -> whole instances, exact over tile edges.

    flatten             one tile's masks -> a single-valued label image and its fragments (in the segmenting worker)
    seams               which local ids of two neighbouring tiles are one object

Two levels, a bounded piece of the region at a time. A run does this; pipeline.run.merge runs it as tasks:

    supertiles          squares of blocks, and keys of fragments that mean the same in all of them
    supertile_seams     the seams of one super-tile, joined inside; edges that leave it (supertile_regions: semantic mode)
    contradictions      matches that contradict what one tile saw, found and cut (optional)
    components, join    integer sums per component; one union-find over what crosses super-tiles, one relabel table each
    describe            relabel tables -> what painting and publishing need
    picture, paint      one block of component numbers, complete objects first
    outlines, trace     one block's counts and polygons, border runs
    dissolve            pieces of one object -> its polygon

    flat/               the same answer in one process from one table: the reference that the two levels are tested against
"""
