"""Train a prompter by mask-only GRPO.

grpo_options     training presets and settings
grpo_data        images, masks and queries; earthreason_data, edited_data and world_data make them
combinations     boxes and points that an answer gives: the action space
taught_replies   makes replies from masks, for the supervised start (sft)
rewards          rewards of format and overlap; reward_engine computes masks for them
sampling         samples replies of a checkpoint; select keeps queries whose replies earn differently
grpo_train       the training on TRL; grpo_model, frozen_vision, grpo_log and grpo_run serve it
training_models  the commits of models that come from the hub
"""
