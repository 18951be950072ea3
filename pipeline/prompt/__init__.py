"""Stage 3: pixels and questions in, prompts for the segmenter or a recorded rejection out.

    query.py            is this text safe to put into a model's prompt?
    profile.py          what one checkpoint family expects and emits, as data (profiles/*.toml)
    reply_text.py       reply text        -> raw items, however broken the text
    parse.py            raw items         -> items in the checkpoint's frame, or absent, or malformed
    released_parser.py  the same by the rule of Think2Seg-RS's released code, for evaluations
    frames.py           items             -> prompts in pixel edges of the tile's read window
    prompter.py         the seam: what every prompter promises
    vllm_prompter.py    a vision-language model in an in-process vLLM engine
    vector_prompter.py  known locations from a vector file
    oracle.py           the truth, for tests and benchmarks
    gate.py             the seam before it: a cheap look that may reject a tile; gatekeeper.py asks who passed
    verifier.py         the seam behind the segmenter: a look at the crop around each mask, and which masks are kept
    decision.py         yes or no in one token, by the prompter's engine; vllm_gate.py and vllm_verifier.py ask with it
    oracle_gate.py, oracle_verifier.py                 the truth in both roles
    build.py            options -> one of each

Heavy libraries are imported where a prompter is built, never when these modules are.
"""
