"""Stage 6: instances and labels in, files out.

run_dir                     every path of a run, and whose it is; run_lock lets one driver in
plan_table, run_json        what was planned and asked
records/                    the committed result of inference, and how the merge reads it
masks_zarr, instances       rasters and objects; instance_rows makes rows, merge_files keeps them on the way
coverage                    the ledger: one row per tile and query
georeference, geo_parquet   from pixels to the ground, and to GeoParquet
stac_item, report/          for a catalogue, and for a person
run_collection, item_table  many runs as one catalogue, and its items as one table
export/                     for programs that read neither Zarr nor GeoParquet
"""
