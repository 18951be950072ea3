"""Train the embedded segmenter from nothing.

segmenter_options   what can be set, and what is refused
segmenter_train     the training; warmup teaches the decoder what a box is
training_windows    draws windows of worlds; imprecise_prompts draws prompts for them
segmenter_loss      SAM2's image path with gradients, and the losses
segmenter_eval      measures it
"""
