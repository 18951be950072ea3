"""Scenes from catalogues: STAC APIs, static catalogues, item files, stac-geoparquet.

catalog_search  the door: which kind of catalogue is it, and what came of the search
found_items     what is asked, and what came of it
item_sieve      which items are taken, in which order, and what is said of the others
item_document   one item as JSON, checked
time_range      times as catalogues and people write them
item_lists      item, item collection, list of items
item            one item of a catalogue and its assets, checked
"""
