"""Block records: the committed result of inference, and how the merge reads them.

block_records   one Parquet file per block, written once
done_records    which blocks have a whole one
record_columns  its columns
record_seal     a hash of the whole file, so that damage is noticed
scene_columns   which scene gave which pixel
label_codec     label images and validity masks as small bytes
record_source   the records as the merge wants them, within a fixed amount of memory
"""
