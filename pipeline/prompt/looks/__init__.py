"""The two optional looks: a gate before the prompter, a verifier behind the segmenter.

gate             the contract of gates, and what they look at
gatekeeper       asks the gate, and lets a random sample of what it rejects pass
gate_audit       estimates the gate's recall from that sample
verifier         the contract of verifiers, and which masks are kept
decision         asks the prompter's engine for yes or no, in one token
vllm_gate, vllm_verifier       both roles, played with `decision`
oracle_gate, oracle_verifier   both roles, played by the truth
"""
