"""Stage 2: blocks in, 8-bit RGB with validity out.

`prepare` settles stretch and collar once per scene, `reader` reads a block with one window per scene,
`validity` and `stretch` say which pixels are imagery and how they become 8 bits, `overview` makes the small
picture for people.
"""
