"""Two runs of one region, of two dates: what became of each object, and what cannot be said.

run_pair            two finished runs on one lattice of pixels
pixel_overlap       square by square: which objects share pixels, and what was judged at both dates
registration        how far the second date is shifted against the first, from the masks
match               which objects are one, and what became of each
change_tables       changes.parquet, registration.parquet, summary.json
change_raster       changes-*.tif: kept, lost, gained and not comparable
change_page         changes.html: the numbers and a picture
compare             the steps in order
"""
