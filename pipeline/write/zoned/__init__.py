"""Files that hold several zones: run.json, tables, page and catalogue item of a run whose scenes have several
CRSs. Every zone below `zones/` has those of an ordinary run.
"""
