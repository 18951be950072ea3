"""Procedural landscapes with exact ground truth, and the oracle that answers from it.

`landscape` and `style` derive a world from its seed, `layout`, `town`, `water` and `sites` place objects,
`render` draws any window, `scene` and `truth` write a world to disk, `queries` asks about it, `oracle` reads
a label raster tile by tile.
"""
