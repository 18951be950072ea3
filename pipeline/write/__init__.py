"""Stage 6: instances and labels in, files out.

`run_dir` knows every path, `block_records` is the commit of inference, `record_source` gives records to the
merge; `masks_zarr`, `instances`, `coverage`, `plan_table`, `run_json`, `stac_item` and `report` write one
output each.
"""
