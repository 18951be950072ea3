"""Procedural landscapes with exact ground truth, and the oracle that answers from it.

landscape, style            a world from its seed
layout, water, sites, town  which objects stand where
ground, paint_objects       how they look; shapes says which pixels they own
render                      draws any window of a world
scene, truth, queries       write a window with its ground truth, and choose what to ask of it
oracle                      answers from a label raster, tile by tile
classes                     what a world may hold
edits                       two dates of a world, with known changes
hashing, noise, compiled    random numbers from positions; how functions are compiled
"""
