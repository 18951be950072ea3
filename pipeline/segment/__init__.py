"""Stage 4: pixels and prompts in, masks with scores out; each tile is encoded once, whatever the number of
prompts.

`segmenter` is the seam, `sam2_segmenter` the real thing (`sam2_model` builds it, `tensors` moves pixels and
logits), `oracle` answers from a label raster, `checkpoint` looks at weights without loading them, `build`
chooses.
"""
