"""Figures, as pure functions of masks and counts.

metrics         gIoU, cIoU, P@t and rejection, under four named conventions
intervals       how sure a figure is
pixel_metrics   GeoSeg's seven pixel metrics; boundary is its boundary F-score
overlap         which predicted instance is which true object
"""
