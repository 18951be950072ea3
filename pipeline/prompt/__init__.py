"""Stage 3: pixels and questions in, prompts for the segmenter or a recorded rejection out.

    query.py            is this text safe to put into a model's prompt?
    profile.py          what one checkpoint family expects and emits, as data (profiles/*.toml)
    reply_text.py       reply text        -> raw items, however broken the text
    parse.py            raw items         -> items in the checkpoint's frame, or absent, or malformed
    frames.py           items             -> prompts in pixel edges of the tile's read window
    prompter.py         the seam: what every prompter promises
    vllm_prompter.py    a vision-language model in an in-process vLLM engine
    vector_prompter.py  known locations from a vector file
    oracle.py           the truth, for tests and benchmarks
    build.py            options -> one of them

Heavy libraries are imported where a prompter is built, never when these modules are.
"""
