"""See design: stage `finetune`."""
