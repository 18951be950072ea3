"""Terraquery: ask a question of imagery, get polygons you can trust.

Data flows through the folders in alphabetical order, grid < load < prompt < segment < stitch < write:

    grid     AOI + source         -> blocks of tiles (the plan)
    load     block                -> pixels, validity, 8-bit RGB
    prompt   pixels + queries     -> prompts, or a recorded rejection
    segment  pixels + prompts     -> masks + scores, one embedding per tile
    stitch   masks of all tiles   -> whole objects, exact over tile edges
    write    objects, labels      -> Zarr, GeoParquet, coverage, STAC, report

`schema` holds the nouns that pass between them, `config` the options of a run, `steps` what one block goes through,
`publish` what happens once all blocks are committed, and `flow` wires it all; `flow` alone imports ray.
Beside them: `world` (procedural scenes with exact ground truth), `finetune` (training), `evaluate` (how good is it).
"""

__version__ = "0.1.0"
