"""Models that are asked by a query and give masks themselves, in place of a prompter and a segmenter.

mask_model      the contract: a tile and its queries in, masks or "nothing here" out
mask_options    the `[mask_model]` table, its checks, and what pins such a model
sam3_masks      in this process: SAM3 asked by words
process_model   in a process and an environment of its own, over a pipe
mask_pipe       the parent's side of the pipe: time limits, the child's end, its last words
child           what runs there: one file without this project, and an adapter per repository
mask_crops      whole masks of a tile -> masks cropped to their boxes, objects told apart
"""
