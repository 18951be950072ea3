"""The models of a run before they are loaded: commit, what is fetched, licence, and how large they are."""
