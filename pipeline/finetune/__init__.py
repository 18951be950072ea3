"""Training of the embedded models from nothing: `prompter_*` for the language model, `segmenter_*` for the mask model."""
