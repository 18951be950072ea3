"""From a model's text to prompts.

reply_text       text       -> raw items, however broken the text
parse            raw items  -> items in the checkpoint's frame, or "nothing here", or malformed
released_parser  the same by the rule of Think2Seg-RS's released code, for evaluations
frames           items      -> prompts in pixels of the tile's read window
"""
