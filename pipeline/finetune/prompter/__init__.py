"""Train the embedded prompter from nothing.

prompter_options    what can be set, and what is refused
prompter_run        renders, trains, measures, exports
training_worlds     draws its tiles; prompter_data keeps them on disk
samples             renderings -> objects, replies, dense targets
wordings, training_queries, tokenizer   how it is asked and how it writes
prompter_model, forward                 its architecture and forward pass
vision, language    what the two stages learn; packing puts several queries into one sequence
prompter_train      runs the stages, with optimisers and checkpoints, in a training_place
carry_on            continues from an exported prompter
prompter_eval, prompter_card            measure it, and write its card
"""
