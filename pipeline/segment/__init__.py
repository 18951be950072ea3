"""Stage 4: pixels and prompts in, masks with scores out. Each tile is encoded once.

segmenter             what every segmenter promises
proposals             which masks of a grid of points are objects
sam2_segmenter        SAM2; sam2_model builds it, tensors moves pixels and logits
onnx_segmenter        any SAM as ONNX files, which sam_export finds and tells apart
kept_embeddings       image encodings that outlive a run
crop_segmenter        draws each box on a crop of its own
oracle_segmenter      answers from a label raster
dual_route            GeoSeg's two routes around one of them
segmenter_checkpoint  looks at weights without loading them
mask_model            models that are asked by a query and give masks themselves
build_segmenter       from options to one of them
"""
