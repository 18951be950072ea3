"""How good is it: `overlap` matches instances of two id rasters, `truth` scores a run against a procedural world."""
