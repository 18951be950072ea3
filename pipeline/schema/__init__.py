"""The nouns that pass between stages. They check themselves and do arithmetic on themselves, nothing more.

tiling        grid: RunGrid, TileLattice, TileSpec, BlockSpec, Window
imagery       grid and load: Scene, TileImage, BlockImage, ScenePixels
quality_rule  grid and load: what of a mask of clouds hides the ground
tile_answers  prompt, segment, stitch: Prompt, TilePrompts, MaskCrop, Fragment, TileRecord, BlockRecord
"""
