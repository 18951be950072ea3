"""A region whose scenes have several CRSs: each zone in its own pixels, objects over the seams once.

zone_plan      scenes -> zones, and the ground that each of them owns
zone_imagery   holes of scenes that lie on ground of another zone, from a small look at each
kept_zones     zones of a run that goes on: their ids, order and grids
zone_flow      a run per zone, then one result of all
zone_objects   objects of the zones in longitude and latitude; those near a seam apart from the rest
zone_ground    what of the ground near a seam each zone judged, and which zone has the say there
zone_ledger    how much ground all zones searched, every place once
zone_match     which objects of two zones are one, by what both saw
zone_shapes    the outline of an object of several zones: each zone draws on the ground that it owns
zone_rows      rows of objects near the seams: what their parts say becomes what the object says
zone_publish   instances, ledger and plan of all zones
zone_pictures  one grid under all zones, and their imagery on it
zone_closing   report, catalogue item and run.json of all zones

Every zone is an ordinary run in a directory of its own below `zones/`, with block records, rasters and a
ledger. It is resumed like any other. What is made of all zones depends on their files alone.
"""
