"""Masks of all tiles -> whole instances, exact over tile edges.

flatten         one tile's masks -> a single-valued label image and its fragments     (in the segmenting worker)
merge           the front door: fragments of all tiles -> instances, rasters, polygons
seams           which local ids of two neighbouring tiles are one object
resolve         union-find over all seams: components, ids, representatives, flags
paint           local ids -> component numbers, core by core, complete objects first
semantic        connected components of everything found, instead of instances
trace, dissolve, polygons    component numbers -> polygons, block by block
"""
