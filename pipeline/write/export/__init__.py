"""Results of a run for programs that do not read them as they are: Cloud-Optimized GeoTIFF and GeoPackage.

export_run     what is exported, where to, and whether it can be
raster_files   one layer of masks.zarr as a Cloud-Optimized GeoTIFF
geo_package    instances and ledger as layers of one GeoPackage
"""
