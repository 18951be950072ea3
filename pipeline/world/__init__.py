"""Procedural landscapes with exact ground truth, and the oracle that answers from it.

landscape, style            a world from its seed
layout, water, sites, town  which objects stand where
ground, paint_objects       how they look; shapes says which pixels they own
render                      any window of a world
scene, truth, queries       a window on disk with its ground truth, and what to ask of it
oracle                      the truth of a label raster, tile by tile
classes                     what a world may hold
hashing, noise, compiled    random numbers from positions, and the compiled functions that use them
"""
