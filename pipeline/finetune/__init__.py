"""Training of prompters, and of the two embedded models.

grpo/        any prompter from masks alone: supervised start, then mask-only GRPO
prompter/    the embedded prompter, from nothing
segmenter/   the embedded segmenter, from nothing
sensor       seasons, air, optics and detector between the ground and the file; sensor_effects draws them
"""
