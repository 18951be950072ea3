"""Queries are added to a finished run: plan -> the blocks, asked the new queries alone -> merge -> publish.

1. `add_queries` reads the run, and checks everything before a model is loaded (`plan_added`).
2. The run's blocks go through the flow of any run, whose steps are told the new queries alone
   (`asked_before.parts_of`).
3. All queries are merged and published again as one snapshot. The merge is a pure function of the records, so
   what it gives for the earlier queries is what it gave before, byte for byte.
"""

from __future__ import annotations

from pipeline.run.added.added_zones import run_added_zones
from pipeline.run.added.claim_added import sources_again
from pipeline.run.added.plan_added import (
    AddRequest,
    added_queries,
    asked_before,
    finished_info,
    plan_added,
)
from pipeline.run.flow import run_together
from pipeline.run.prepare import PlannedRun, run_context
from pipeline.run.screen import Say, patient
from pipeline.run.summary import closing_code, notice_box, plan_text
from pipeline.run.todo import todo
from pipeline.write.run_dir import RunDir
from pipeline.write.run_json import RunInfo


def add_queries(request: AddRequest, *, say: Say = print) -> int:
    """Ask a finished run more. Returns the exit code as `flow.run_region` does. `say` prints a line. Raises
    TerraqueryError.
    """
    say = patient(say)
    info = finished_info(request.out)
    added = added_queries(info, request.queries)
    say(added_text(info.queries, added))
    if not isinstance(info, RunInfo):
        return run_added_zones(request, info, added, run_together=run_together, rehearse=rehearse, say=say)
    root = RunDir(request.out)
    planned = plan_added(request, info, (*info.queries, *added), root=root)
    if planned.request.config.preset.notice:
        say(notice_box(planned.request.config.preset.notice))
    say(plan_text(planned))
    if request.dry_run:
        say(rehearse(planned))
        return 0
    (run,) = run_together([planned], root=root, say=say)
    return closing_code(run.info.counters, request.max_failed_share)


def added_text(queries: tuple[str, ...], added: tuple[str, ...]) -> str:
    """Tell what is added to what."""
    return f"adding {'; '.join(added)}\nto the queries {'; '.join(queries)}, whose results stay as they are"


def rehearse(planned: PlannedRun) -> str:
    """Say what a start would do. It costs a look at every block record. Raises RunMismatchError."""
    sources = sources_again(planned)
    asked = asked_before(planned)
    left = todo(
        run_context(planned, sources), retry_failed=False, before=None if asked is None else asked.keys
    )
    counts = left.changes.text(would=True, new="without a record, which would be asked everything")
    return f"dry run: no model was loaded and nothing was written; of the blocks {counts}"
