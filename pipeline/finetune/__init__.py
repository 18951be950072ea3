"""Train prompters and the two embedded models.

grpo/        trains any prompter from masks alone: supervised start, then mask-only GRPO
prompter/    trains the embedded prompter from nothing
segmenter/   trains the embedded segmenter from nothing
sensor       simulates season, air, optics and detector; sensor_effects draws their strengths
"""
