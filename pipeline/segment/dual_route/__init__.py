"""GeoSeg's third stage: every box is segmented in two ways, and what both mark counts.

dual_options          the `[segmenter.dual]` table
clip_surgery          route A: where in a crop CLIP sees a phrase
keypoints             its map -> points
sam3_text             route B: SAM3 asked by the phrase
fusion                two masks -> one, by equation 7 or by the released code's rule
dual_route_segmenter  the wiring: a `Segmenter` around another one
"""
