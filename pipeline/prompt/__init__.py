"""Stage 3: pixels and queries in, prompts for the segmenter or a recorded rejection out.

    query                is this text safe to put into a model's prompt?
    profile              what one checkpoint family expects and emits, as data (profiles/*.toml)
    template             the chat messages of one tile and one query
    reply/               from a model's text to prompts in the tile's pixels
    prompter             the seam: what every prompter promises
    vllm_prompter        a vision-language model in an in-process vLLM engine
    vector_prompter      known locations from a vector file
    oracle_prompter      the truth, for tests and benchmarks
    prompter_checkpoint  can we prompt with this checkpoint? Answered without loading weights
    looks/               the optional gate before the prompter and the optional verifier behind the segmenter
    build_prompter       options -> one of each

Heavy libraries are imported where a prompter is built, never when these modules are.
"""
