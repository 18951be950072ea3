"""Compute figures, as pure functions of masks and counts.

metrics         gIoU, cIoU, P@t and rejection, under four named conventions
intervals       intervals of figures
pixel_metrics   GeoSeg's seven pixel metrics; boundary is its boundary F-score
overlap         pairs predicted instances with true objects
"""
