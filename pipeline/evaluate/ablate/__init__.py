"""Compare variants of one preset on the same samples, beside the tables that papers published.

ablation_axes        the declared lists of variants, one list per axis
published_rows       what the papers' own ablations say, with table and data
paired_differences   how far two variants lie apart, sample by sample
run_ablation         the wiring: each variant is an evaluation, which resumes
ablation_text        the document as a table in Markdown, and what a small world can show
ablation_page        the same as a page, with the picture first
"""
