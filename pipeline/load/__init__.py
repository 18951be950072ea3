"""Stage 2: blocks in, 8-bit RGB with validity out.

prepare_scenes  settles stretch and collar, once per scene
reader          reads a block, with one window per scene
validity        says which pixels are imagery
stretch         turns stored numbers into 8 bits
overview        makes a small picture of the whole run, for people
"""
