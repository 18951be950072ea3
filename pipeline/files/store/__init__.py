"""Where a run is kept: one interface over a local folder and a bucket of an object store.

`store_path` is what the rest of the project uses. `store` says what every store promises, `local_store` and
`s3_store` keep it, `stored_files` gives libraries what they can open.
"""
