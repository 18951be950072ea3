"""The merge in one process, from one table: the reference that the two levels are tested against."""
