"""What all stages agree on about the Earth and about pixels.

globe         geometry in longitude and latitude, cut where longitudes begin again
planet        which body a CRS lies on
pixel_rules   how a grid may be cut into tiles, and when two rasters share their pixels
scene_pixels  which scene gave each pixel
"""
