"""How files are reached, pinned and written whole.

raster_access   which hrefs are allowed, the settings they need, a guarded open
stacked_bands   red, green and blue of three files as one dataset
value_tags      what a file says that its values mean
tiff_directories  what a TIFF claims, before GDAL sees it
file_identity   what pins the content of a file
remote_file     remote objects as files that GDAL can read
remote_object   bytes of one version of a remote object
http_range      bytes of a URL, redirects and repeated requests
paced_connection  connections with a pace, to allowed addresses only
s3_range        bytes of an object on S3
remote_store    how patiently, and with which settings, remote objects are asked for
traffic         what this process asked of servers, and what it did not have to
remote_error    why a remote object could not be read
href_guard      what the hrefs of a catalogue may reach
signing         hrefs are signed just before they are read
sas_tokens      tokens of the Planetary Computer
vector_file     features of a user's vector file
sound_geometry  which polygons can be used, and which are mended first
text_file       text in the encodings that people's tools write
hrefs           hrefs as they may be stored, without their secrets
provenance      hashes of the files that parameters name
fingerprint     what makes two runs the same run
lasting_path    refuses paths that do not outlive the job
output_folder   what is said about a folder that cannot be written to
store/          where a run is kept: a local folder or a bucket
atomic_file     files appear whole or not at all
blob_cache      a folder of blobs up to a size; what was not asked for longest goes first
run_times       the times that a run tells, and how to leave them out
"""
