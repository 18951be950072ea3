"""Stage 5: masks of all tiles -> whole instances, exact over tile edges.

    flatten             the masks of one tile -> a label image and its fragments (runs beside the segmenter)
    seams               which labels of two neighbouring tiles are one object

The rest works on a bounded piece of the region at a time. pipeline.run.merge runs it as tasks, in this order:

    supertiles          squares of blocks, and keys that name a fragment the same way in all of them
    supertile_seams     the seams of one super-tile: joined inside, listed where they leave it
    contradictions      matches that contradict what one tile saw are cut (optional)
    components, join    sums per component; one union-find over what crosses super-tiles
    describe            joined components -> what painting and publishing need
    paint_core          the rules of painting, for the core of one tile
    block_picture       one block of component numbers
    outlines, trace     what one block shows: counts, polygons, runs along its border
    dissolve            pieces of one object -> its polygon

Semantic mode has block_regions and supertile_regions in place of the seams and the painting.
fragment_table, sources, union_find and stitch_options serve all of them. flat/ gives the same answer in one
process from one table. No run uses it: tests compare the two.
"""
