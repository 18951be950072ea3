"""How files are reached, pinned and written whole.

raster_access   which hrefs are allowed, GDAL's settings, a guarded open
vector_file     features of a user's vector file
hrefs           hrefs as they may be stored, without their secrets
provenance      hashes of the files that parameters name
fingerprint     what makes two runs the same run
lasting_path    refuses paths that do not outlive the job
atomic_file     files appear whole or not at all
"""
