"""Stage 2: blocks in, 8-bit RGB with validity out.

prepare_scenes  settles validity, collar and stretch, once per scene
first_look      reads a bounded sample of a scene, from which that is settled
imagery_outline draws where a scene has imagery, from a small look
validity        says which pixels are imagery, as far as the file tells
quality         says where clouds hide the ground (mask_lattice, computed_mask)
collar          finds the black border that no file declares
stretch         turns stored numbers into 8 bits
unjudged        measures what the models will not see, and why
reader          reads a block, with one window per scene
overview        makes a small picture of the whole run, for people
"""
