"""Queries for a finished run are checked here, before a model is loaded or anything is written.

1. `AddRequest` is the command line. Everything that it does not say comes from the run (`run_again`).
2. `added_queries` refuses queries that the run has, and `finished_info` a run that is not finished.
3. `plan_added` plans one run on one grid. A start that goes on with an addition that was interrupted plans
   the same: what is done is found by the records.

Known locations, a grid of points and examples answer every query alike, so a further one would be the same
answer under another name: it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import InputError
from pipeline.geo.planet import require_proj
from pipeline.grid.estimate import estimate
from pipeline.prompt.build_prompter import check_prompter, check_queries_fit, check_second_looks
from pipeline.prompt.query import check_query
from pipeline.run.added.asked_before import AskedBefore
from pipeline.run.added.run_again import config_again, notice_of, plan_again, require_as_before
from pipeline.run.block_inputs import keys_of_run
from pipeline.run.budget import SpendingOptions
from pipeline.run.choose_runner import choose_runner
from pipeline.run.config import RunnerChoice, check_queries
from pipeline.run.models.model_checks import check_models, commit_models
from pipeline.run.prepare import PlannedRun, RunRequest, check_engines
from pipeline.segment.build_segmenter import check_segmenter
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import existing_run
from pipeline.write.run_json import RunInfo
from pipeline.write.zoned.zoned_json import ZonedInfo, read_any_run

_ALIKE = {
    "vector": "a run of known locations (--prompts), which are the same whatever is asked",
    "grid": "a run with --everything, which asks for nothing by name",
}
"""Kinds of prompters that answer every query alike, and what runs of theirs are."""


@dataclass(frozen=True, kw_only=True)
class AddRequest:
    """What is to be added to which run."""

    out: str
    queries: tuple[str, ...]
    """As the user gave them."""
    config: str | None = None
    """TOML file with how the run is done; it may not change the result."""
    cache: Mapping[str, object] = field(default_factory=dict)
    """The `[cache]` table. Empty: none, unless `config` has one."""
    runner: RunnerChoice = "auto"
    dry_run: bool = False
    max_failed_share: float = 0.0
    spending: SpendingOptions = field(default_factory=SpendingOptions)


def finished_info(out: str) -> RunInfo | ZonedInfo:
    """Read run.json of the run that is to be asked more. Raises InputError where it has no result yet, goes
    on in another way, or keeps its records elsewhere.
    """
    require_proj()
    run_dir = existing_run(out, what="--add-query")
    info = read_any_run(run_dir.run_json)
    if isinstance(info, RunInfo) and "merged_from" in info.settings:
        merged: Any = info.settings["merged_from"]
        raise InputError(
            "--add-query needs the run that has the block records",
            came=f"{run_dir.path}, which was merged again from {merged['run']}",
            remedy=f"give --out {merged['run']}, and merge that one again",
        )
    under_way = bool(info.update) and not info.update.get("queries")
    if not info.snapshot or under_way or (isinstance(info, RunInfo) and not info.records_share):
        what = "whose --update has not ended" if under_way else "that has published nothing"
        raise InputError(
            "--add-query needs a finished run",
            came=f"{run_dir.path}, {what if info.update or not info.snapshot else 'of an earlier version'}",
            remedy="start the run's own command again, and add the query once it has ended",
        )
    return info


def _plain(query: str) -> str:
    """A query without what no model hears: capitals, and more than one space."""
    return " ".join(query.split()).casefold()


def added_queries(info: RunInfo | ZonedInfo, queries: Sequence[str]) -> tuple[str, ...]:
    """Check the queries to be added. Raises InputError for one that the run has, and where another addition
    has not ended.
    """
    asked = tuple(check_query(query) for query in queries)
    known = {_plain(query): query for query in info.queries}
    for at, query in enumerate(asked):
        if _plain(query) in map(_plain, asked[:at]):
            raise InputError(
                "every --add-query may be given once", came=repr(query), remedy="drop the repetition"
            )
        if _plain(query) in known:
            raise InputError(
                "--add-query adds what the run was not asked yet",
                came=f"{query!r}, of which the run has results as {known[_plain(query)]!r}",
                remedy="drop it; the run has the queries " + ", ".join(map(repr, info.queries)),
            )
    added = check_queries((*info.queries, *asked))[len(info.queries) :]
    coming = tuple(info.update.get("queries", ()))[len(info.queries) :]
    if coming and coming != added:
        words = " ".join(f"--add-query {query!r}" for query in coming)
        raise InputError(
            "an addition of queries that has begun must end first",
            came=f"{', '.join(map(repr, added))}, while {', '.join(map(repr, coming))} is being added",
            remedy=f"give {words}, and the others once that has ended",
        )
    return added


def plan_added(request: AddRequest, info: RunInfo, queries: tuple[str, ...], *, root: RunDir) -> PlannedRun:
    """Plan one run. `queries`: all that it is to have. `root`: its directory. Raises InputError, and
    RunMismatchError for models that are others now. Writes nothing.
    """
    config = config_again(info, request.config, cache=request.cache)
    _require_asked(config.prompter.kind, examples="examples" in info.parameters)
    plan = plan_again(root, info)
    preset, models = commit_models(config.preset, None)
    config = replace(config, preset=replace(preset, notice=notice_of(info)))
    notes = check_prompter(config.prompter, plan.grid)
    n_added = len(queries) - len(info.queries)
    check_queries_fit(config.prompter, queries[len(info.queries) :] or queries)
    check_second_looks(config.gate, config.verifier, config.prompter)
    runner = choose_runner(request.runner, plan.n_tiles)
    check_engines(config.preset, runner.name)
    checked = check_models(config.preset, models, runner, dry_run=request.dry_run)
    check_segmenter(config.segmenter, plan.grid)
    require_as_before(root, info, config, plan)
    return PlannedRun(
        request=RunRequest(
            config=replace(config, queries=queries),
            out=str(root.path),
            runner=request.runner,
            dry_run=request.dry_run,
            update=True,
            max_failed_share=request.max_failed_share,
            spending=request.spending,
            models=models,
        ),
        plan=plan,
        aoi=None,
        estimate=estimate(plan, max(n_added, 1)),
        parameters={**info.parameters, "queries": list(queries)},
        runner=runner,
        notes=tuple(notes),
        searches=info.searches,
        models=checked,
        before=info,
    )


def asked_before(planned: PlannedRun) -> AskedBefore | None:
    """What the run of a plan was asked before. None: it is not one to which queries are added."""
    before = planned.before
    if before is None or before.queries == planned.request.config.queries:
        return None
    return AskedBefore(queries=before.queries, keys=keys_of_run(before, planned.plan.inside))


def _require_asked(kind: str, *, examples: bool) -> None:
    """Refuse a run whose answers do not follow from its queries. Raises InputError."""
    if kind not in _ALIKE and not examples:
        return
    came = _ALIKE.get(kind, "a run with --examples, whose classifier knows one answer")
    raise InputError(
        "--add-query needs a run whose prompter is asked",
        came=came,
        remedy="begin another run on the same grid: --grid-of RUN",
    )
