"""A dry run: everything is checked and planned, and no model is loaded.

Where no run has begun, the plan is written. Where one has, it says what would become of its blocks: how many
stay, how many would be done again and why, how many are new, and how many fell out of the plan. That costs a
look at every block record.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.files.output_folder import writing_to
from pipeline.run.imagery_text import imagery_text
from pipeline.run.prepare import PlannedRun, run_context, stretched_scenes, write_plans
from pipeline.run.todo import Todo, todo
from pipeline.write.run_dir import RunDir


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What came of a dry run."""

    text: str
    """To tell the user."""
    left: Todo | None = None
    """Of a run that would go on. None: all would be done."""


def rehearse(planned: PlannedRun, *, leave_plan: bool = True) -> Rehearsal:
    """Check what `prepare.claim` checks, and write plan.parquet where no run has begun. Raises
    RunMismatchError for another run's directory.

    `leave_plan`: false for a new zone of a run that is there. Nothing is deleted. A run that is there keeps
    its run.json, so another plan can follow on the same --out.
    """
    request = planned.request
    run_dir = RunDir(request.out)
    sources = stretched_scenes(planned, run_dir)
    imagery = imagery_text([source.to_dict() for source in sources])
    told = f"{imagery}\ndry run: no model was loaded"
    if not run_dir.run_json.exists() and not leave_plan:
        all_new = f"all {planned.estimate.blocks} blocks would be new"
        return Rehearsal(text=f"{told} and nothing was written; {all_new}")
    if not run_dir.run_json.exists():
        with writing_to(run_dir.path):
            write_plans(run_dir, planned)
        return Rehearsal(text=f"{told}; the plan is {run_dir.plan}")
    claim = run_dir.check(planned.parameters, new_run=request.new_run, update=request.update)
    told = f"{told} and nothing was written; the run in {run_dir.path}"
    if claim == "new":
        return Rehearsal(text=f"{told} would be deleted (--new-run)")
    updates = claim == "update"
    after = "go on with this area and these scenes (--update)" if updates else "be resumed"
    left = todo(run_context(planned, sources), retry_failed=request.retry_failed, update=request.update)
    counts = left.changes.text(would=True, new="new" if updates else "not done yet")
    aside = left.changes.set_aside_text()
    return Rehearsal(text=f"{told} would {after}: {counts}" + (f"; {aside}" if aside else ""), left=left)
