"""Benchmarks in their own layouts: one module per data set; annotation_files and coco_rle serve all of them."""
