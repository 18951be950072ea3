"""What a run was asked before queries were added, and the blocks that need the new queries alone.

1. The record of a block holds the inputs that it was made of, and these name the queries. A record that is
   whole and of the inputs of before is kept: its block is asked the new queries alone (`parts_of`).
2. `AskedBefore.joined` puts its rows before those of the new queries, and the block record is swapped for the
   joined one. So a block has the old queries' answers at any moment, and the new ones' once it is done.
3. A block without such a record, lost or damaged, is asked everything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.errors import OtherInputsError
from pipeline.run.infer.steps import RunContext
from pipeline.run.todo import Changes, Todo
from pipeline.schema.tile_answers import BlockRecord
from pipeline.write.records.added_rows import with_added_rows
from pipeline.write.records.block_records import read_block_record
from pipeline.write.records.record_keys import RecordKeys, key_of
from pipeline.write.run_dir import RunDir


@dataclass(frozen=True, kw_only=True)
class AskedBefore:
    """The queries that a run had, and what its records are of. Small and picklable."""

    queries: tuple[str, ...]
    keys: RecordKeys

    def joined(self, run_dir: RunDir, added: BlockRecord) -> BlockRecord:
        """Put the rows of earlier queries before those of the new ones.

        Where another attempt at the block has committed both, its record is given back. Raises RecordError.
        """
        path = run_dir.block(added.block_id)
        try:
            before = read_block_record(path, key_of(self.keys, added.block_id).fingerprint)
        except OtherInputsError as error:
            if error.inputs != added.inputs:
                raise
            return read_block_record(path, added.fingerprint)
        return with_added_rows(before, added, len(self.queries))


def parts_of(context: RunContext, left: Todo, asked: AskedBefore | None) -> list[tuple[RunContext, Todo]]:
    """Part what is left of a run into blocks that are asked everything, and those that have answers to all
    queries but the new ones.
    """
    whole = [block for block in left.blocks if block.block_id not in left.asked_more]
    more = [block for block in left.blocks if block.block_id in left.asked_more]
    parts = [(context, replace(left, blocks=tuple(whole)))]
    if asked is not None and more:
        config = context.config
        only_new = replace(config, queries=config.queries[len(asked.queries) :])
        rest = Todo(blocks=tuple(more), done_tiles=0, changes=Changes(n_stay=0, again={}, n_new=0, n_out=0))
        parts.append((replace(context, config=only_new, asked=asked, redone={}), rest))
    return parts
