"""Is a run what it says it is? Everything in its directory, checked against everything else.

verify_run     the checks, one after the other
findings       what was found to be wrong
file_checks    run.json, the plan, and the files that the catalogue item pins
record_checks  block records against the plan, the ledger against the records
object_checks  rows of instances: ids, boxes, areas, tiles
zoned_checks   what lies above several zones, against the zones
update_checks  the same where an update has begun and not ended
raster_checks  masks.zarr against the instances and the records, block by block
"""
