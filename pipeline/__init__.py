"""Terraquery: ask a question of imagery, get polygons you can trust.

Data flows through the stages in alphabetical order:

    grid     AOI + source         -> blocks of tiles (the plan)
    load     block                -> pixels, validity, 8-bit RGB
    prompt   pixels + queries     -> prompts, or a recorded rejection
    segment  pixels + prompts     -> masks + scores, one embedding per tile
    stitch   masks of all tiles   -> whole objects, exact over tile edges
    write    objects, labels      -> Zarr, GeoParquet, coverage, STAC, report

`schema` holds the nouns that pass between them, `geo` what they agree on about the Earth and about pixels,
`errors` what can go wrong. `options` turns TOML into options, `files` says how files are reached and written.
`run` wires the stages into one run; `evaluate` says how good a run or a model is; `finetune` trains; `world`
draws scenes with exact ground truth.
"""

__version__ = "0.1.0"
