"""Scenes from catalogues: STAC APIs, static catalogues, item files, stac-geoparquet.

item  one item of a catalogue and its assets, checked
"""
