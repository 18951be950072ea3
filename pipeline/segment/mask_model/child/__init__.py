"""What runs in a mask model's own environment, and knows nothing of this project. Never imported from there.

mask_child            the child's side of the pipe: frames, hello, load, answer
"""
