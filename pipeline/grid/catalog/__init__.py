"""Scenes from catalogues: STAC APIs, static catalogues, item files, stac-geoparquet.

catalog_search   the door: which kind of catalogue is it, and what came of the search
found_items      what is asked, and what came of it
api_search       a STAC API, by pystac-client's requests
page_walk        pages that may repeat, lose, circle or not end
static_catalog   files that link to each other
item_lists       item, item collection, list of items
parquet_items    stac-geoparquet, of which only what can be wanted is decoded
item_sieve       which items are taken, and what is said of the others
met_items        which items were met before
item_order       in which order they come
item_document    one item as JSON, checked
time_range       times as catalogues and people write them
catalog_reader   documents of one catalogue, and how far its links may lead
catalog_web      bounded HTTP
item             one item of a catalogue and its assets, checked
item_scene       items become scenes; files are opened only where the item says too little
asset_choice     which files show an item in colour
item_projection  where an item says that they lie
header_check     headers are opened, and compared with what the item says
failed_places    scenes that cannot be read, put among those that can
catalog_options  what the command line asks of catalogues
quality_table    which asset says where clouds are, and what of it hides the ground
reflectance_table  how an asset's values become reflectance, and who says so
"""
