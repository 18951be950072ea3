"""The two optional looks: a gate before the prompter, a verifier behind the segmenter.

gate             the gate's contract; gatekeeper asks it and keeps a random sample of what it rejects
gate_audit       recall of a gate, estimated from that sample
verifier         the verifier's contract and which masks are kept
decision         yes or no in one token, by the prompter's engine; vllm_gate and vllm_verifier ask with it
oracle_gate, oracle_verifier   the truth in both roles
"""
