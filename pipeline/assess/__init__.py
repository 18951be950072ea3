"""Say how many, how large, how sure: a random sample of a finished run, its review, and estimates.

sampling_frame    what can be drawn: objects, squares of ground, points
allocation        how many units each stratum gets
draw_units        the draw, by seed
sample_design     the design and its sample as files
review_chips      pictures of the units
review_page       one offline page on which a person answers
review_labels     the answers, checked against the design
survey_estimators estimates with intervals, of one stratum and of all
query_estimates   answers -> precision, recall, count and area of one query
estimate_run      answers -> assessment.json
confidence        scores that mean what they say
confidence_files  confidence.parquet and reliability.svg
looked_at         ground that was looked at, and why the rest was not
districts         polygons that part an answer
full_page         the run's report with assessment, confidence and cost
answer_run        run -> how many, how large, how dense
plan_run          run -> design, sample and page
change            the same of a comparison of two dates: areas gained, lost and kept
"""
