"""Training. `grpo_*`: any prompter on masks alone (GRPO) and its supervised warm start; from nothing, the embedded models: `prompter_*` the
language model, `segmenter_*` the mask model."""
