"""Faults of the servers: the one that holds the imagery, and the store that holds the run."""

from __future__ import annotations

from chaos_places import PATIENCE, STALL_S
from s3_proxy import FAULTS as BUCKET_FAULTS
from trials import Trial

HTTP_FAULTS = ("403", "404", "429", "500", "503", "short", "slow", "stalled")


def bad_server(trial: Trial) -> None:
    """A web server that answers badly for a while, and then well."""
    server = trial.bench.server
    fault = trial.rng.choice(HTTP_FAULTS)
    server.clear()
    first = trial.rng.randint(1, 12)
    most = {"slow": 20, "stalled": 4}.get(fault, 60)
    server.stall_s = STALL_S
    server.faults = dict.fromkeys(range(first, first + trial.rng.randint(3, most)), fault)
    trial.settings |= PATIENCE
    try:
        trial.expect(trial.start(), (0, 1, 2, 3, 4), f"a server with {fault}")
        met = server.number() - first
    finally:
        server.clear()
    trial.note(f"server {fault}", met=met > 0, times=max(1, min(met, len(server.faults))))
    trial.words = ["--retry-failed"]
    trial.healed = True


def bad_bucket(trial: Trial) -> None:
    """A store that answers a share of all requests badly, from now to the end of the trial's faults."""
    proxy = trial.bench.proxy
    rng = trial.rng
    trial.settings |= PATIENCE
    proxy.clear(trial.seed)
    proxy.stall_s = STALL_S
    proxy.share = rng.choice((0.03, 0.1, 0.2))
    if rng.random() < 0.5:
        proxy.faults = (rng.choice(BUCKET_FAULTS),)
    if rng.random() < 0.25:
        proxy.once[rng.randint(0, 60)] = "stalled"
    trial.stormy = True
    code = trial.expect(trial.start(), (0,), "a store that answers badly")
    trial.faults.append(f"storm {'survived' if code == 0 else 'that ended a run'}")


def refused_bucket(trial: Trial) -> None:
    """A store that refuses everything from some request on. The run ends, and loses nothing."""
    proxy = trial.bench.proxy
    proxy.clear(trial.seed)
    proxy.refused_from = trial.rng.randint(0, 60)
    job = trial.start()
    code = trial.expect(job, (0, 1, 2), "a store that refuses everything")
    if code:
        trial.require_clear_words(job, "a store that refuses everything")
    trial.note("bucket 403", met=proxy.met["403"] > 0)
    proxy.clear()


def note_storm(trial: Trial) -> None:
    """Count what a store that answers badly has done to the requests of a trial."""
    for fault, times in sorted(trial.bench.proxy.met.items()):
        trial.note(f"bucket {fault}", times=times)
