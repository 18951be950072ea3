"""What runs in a mask model's own environment, and knows nothing of this project. Never imported from there.

mask_child            the child's side of the pipe: frames, hello, load, answer
lisa_adapter          LISA
pixellm_adapter       PixelLM
psalm_adapter         PSALM, asked as for referring expressions
segearth_r1_adapter   SegEarth-R1
segearth_r2_adapter   SegEarth-R2
"""
