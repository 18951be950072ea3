"""The map in report.html: pan, zoom, filters, one object after the other; offline and inside the file.

map_objects   which objects the page holds, and how many lie where
map_outlines  whole numbers and outlines as short text
map_ground    the picture under the map, as tiles of several sizes
map_mesh      where places of vector tiles lie in the run grid
map_section   the section of the page, with its data and its scripts
page          what runs in the browser: data, drawing, panel, vector tiles of a chosen file, style sheet
"""
