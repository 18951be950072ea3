"""report.html: what a person looks at first.

report          the page
report_data     what it shows of single objects and tiles
report_objects  all objects in one pass: counts, histograms, a few names
report_rows     rows of the published files, a bounded number at a time
report_images   overview, coverage map, chips
report_charts   histograms as inline SVG
map             the map: pan, zoom, filters, one object after the other
report_page     the document around the sections
report_html, report_style   escaped markup, one style sheet
"""
