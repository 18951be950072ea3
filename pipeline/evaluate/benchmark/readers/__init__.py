"""Benchmarks in their own layouts, one module per data set. All use annotation_files and coco_rle."""
