"""A few examples instead of words: marks in, a trained classifier out, before the first block.

marks          reads what is marked yes or no, and places it on the run grid
training       draws the marked objects, trains the classifier, and keeps it in the run directory
examples_page  how good it is on marks that were left out, as text and as a picture
"""
