from __future__ import annotations

from pathlib import Path

from run.merge.two_tiles import two_tile_job

from pipeline.run.merge.filed_tables import Filed, FiledTables


def test_each_reader_is_given_its_own_tables_in_order(tmp_path: Path) -> None:
    """Whatever the order of the tasks, and also when one was done twice."""
    job = two_tile_job(tmp_path)
    filed = FiledTables()
    filed.add([Filed("pieces", 0, 11, 3), Filed("pieces", 0, 2, 3), Filed("pieces", 1, 5, 3)])
    filed.add([Filed("pieces", 0, 11, 3), Filed("pieces", 0, 7, 1), Filed("rows", 0, 4)])
    assert filed.readers("pieces", 0) == [1, 3]
    assert filed.writers("pieces", 0, 3) == [2, 11]
    assert filed.writers("rows", 0) == [4]
    assert filed.paths(job, "pieces", 0, 3) == (
        job.tables / "q0" / "pieces" / "3" / "00000002.arrow",
        job.tables / "q0" / "pieces" / "3" / "00000011.arrow",
    )
    assert filed.paths(job, "runs", 0, 3) == ()
    assert filed.readers("runs", 0) == []
