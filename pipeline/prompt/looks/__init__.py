"""The two optional looks: a gate before the prompter, a verifier behind the segmenter.

gate             what a gate promises
gatekeeper       asks the gate, and lets a random sample of what it rejects through
gate_audit       estimates the gate's recall from that sample
verifier         what a verifier promises, and which masks are kept
decision         yes or no in one token of the prompter's engine
vllm_gate, vllm_verifier       both roles, played with `decision`
oracle_gate, oracle_verifier   both roles, played by the truth
"""
