"""Stage 1: area of interest and sources in, the plan out.

    aoi       reads the region, gazetteer finds it by name
    source    describes rasters by their headers; bands picks red, green and blue, band_files joins them
    catalog/  searches catalogues, and makes scenes of their items
    find_scenes  puts both together, in the order of the mosaic
    lattice   chooses the run grid
    tiles     cuts it, and says which tiles are looked at
    estimate  adds up what that will cost

No pixel is read here.
"""
