"""Fetch the models of a preset into a folder, for machines that reach no model hub.

python jobs/fetch_models.py --preset think2seg-3b --to models/hub
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.run.job_exit import exit_code, run_job
from pipeline.run.job_options import add_preset_options, job_parser

EPILOG = """what comes
  Settings, tokenizer, chat template and weights of every model that the preset names by its hub id, at one
  commit. Each file must have the hash that the hub lists; what has another is deleted and refused. A download
  that broke, or was killed, goes on where it stopped when the same command is started again. Files that are
  here and right are not fetched again. PRESET.manifest.json in --to has all names, sizes and hashes.

then, on a machine without a network, with the folder as it is
  HF_HUB_CACHE=models/hub HF_HUB_OFFLINE=1 python jobs/segment_region.py ... --preset think2seg-3b
or, while the folder stays where it was written
  python jobs/segment_region.py ... --preset think2seg-3b --config models/hub/think2seg-3b.toml

in a cluster
  from the bucket: aws s3 sync models/hub s3://BUCKET/models/hub --exclude "*.part"; GPU workers copy it
    before they start (infra/kubernetes/components/models-from-bucket)
  from the image: COPY models/hub /opt/terraquery/hub. The image sets HF_HUB_CACHE to that folder, and
    HF_HUB_OFFLINE=1 (infra/docker)

HF_ENDPOINT names a mirror of the hub, HTTPS_PROXY a proxy, HF_TOKEN who asks (for models that want consent).

examples:
  python jobs/fetch_models.py --preset think2seg-3b --to models/hub --dry-run
  python jobs/fetch_models.py --preset think2seg-3b --config other_model.toml --to models/hub

Exit codes: 0 complete, 2 bad input or a hub that does not answer, 1 anything else (a broken download)."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = job_parser("fetch_models.py", __doc__, EPILOG)
    add_preset_options(top, "whose models")
    top.add_argument("--to", required=True, type=Path, metavar="DIR", help="folder for them")
    top.add_argument("--dry-run", action="store_true", help="list files and bytes, and fetch nothing")
    return top


def main(argv: list[str] | None = None) -> int:
    """Fetch; returns the exit code."""
    args = parser().parse_args(argv)

    def work() -> int:
        from pipeline.run import config as cfg
        from pipeline.run.models.fetch_preset import FetchRequest, fetch_preset

        preset = cfg.build_preset(cfg.preset_tables(args.preset, args.config))
        return fetch_preset(
            FetchRequest(preset_name=args.preset, preset=preset, to=args.to, dry_run=args.dry_run)
        )

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(run_job(main))
