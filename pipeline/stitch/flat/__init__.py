"""The reference: the same merge in one process, from one table of all fragments.

Only tests import it; import-linter sees to that. It shares the rules with what a run uses (seams, painting of
a core, tracing), and has its own way of putting them together.

    flat_sources        all tiles of a region and the table of their fragments
    flat_matches        every seam of the region, one union-find, the audit
    flat_components     components, ids, representatives, flags
    instance_painter    blocks of component numbers (semantic_painter in semantic mode)
    instance_table      counts on the painted raster, one row per instance
    polygon_stream      blocks -> whole polygons
    flat_merge          one after the other
"""
