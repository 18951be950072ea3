"""Let a vision-language model rate the masks of an evaluation, as GeoSeg does (its "MLLM judge").

judge_picture   image, true and predicted mask in one picture
verdict         a judge's reply -> three marks from 1 to 5, or missing
vllm_judge      any checkpoint that vLLM serves, asked with judge.toml
judge_run       the wiring: samples of an evaluation -> pictures -> verdicts -> files
judge_page      means with intervals, for all samples and by their properties
"""
