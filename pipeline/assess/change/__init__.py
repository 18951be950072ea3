"""How much changed between two dates, with intervals: points of a comparison, looked at on both dates.

change_frame      what can be drawn: pixels of changes.tif by what the comparison says of them
plan_changes      comparison -> design, sample and page
change_estimates  answers -> areas gained, lost and kept
"""
