"""How files are reached, pinned and written whole.

raster_access   which hrefs are allowed, GDAL's settings, a guarded open
vector_file     features of a user's vector file
sound_geometry  which polygons can be used, and which are mended first
text_file       text in the encodings that people's tools write
hrefs           hrefs as they may be stored, without their secrets
provenance      hashes of the files that parameters name
fingerprint     what makes two runs the same run
lasting_path    refuses paths that do not outlive the job
atomic_file     files appear whole or not at all
"""
