"""Stage 3: pixels and queries in, prompts for the segmenter or a recorded rejection out.

    query                checks that a text may stand in a model's prompt
    profile              what a checkpoint family is asked and how it answers, as data (profiles/*.toml)
    template             the chat messages of one tile and one query
    reply/               from a model's text to prompts in the tile's pixels
    box_margins          moves the sides of a checkpoint's boxes, as GeoSeg does
    shape_points         more points for long shapes and rings
    prompter             the contract that every prompter keeps
    vllm_prompter        a vision-language model, asked through vllm_engine
    vector_prompter      known locations from a vector file
    grid_prompter        a regular grid of points, for every object there is
    whole_prompter       the whole tile, for a mask model that is asked by the query itself
    grounding_prompter   Grounding DINO: boxes of what a phrase names
    oracle_prompter      the truth, for tests and benchmarks
    prompter_checkpoint  checks that a checkpoint can be prompted, without loading weights
    checkpoint_files     checks that it is complete
    engine_times         how long the parts of an engine's start took
    looks/               the optional gate before the prompter and the optional verifier behind the segmenter
    build_prompter       builds prompter, gate and verifier from their options

Heavy libraries are imported when a prompter is built, not when these modules are.
"""
