"""Repositories of a model hub: which commit counts, what its files are, and how they come here."""
