"""Execute the Dockerfile without Docker: a stage is a tree of files, and a RUN is a chroot in it.

unshare --mount python infra/docker/build_in_chroot.py --base TREE --work DIR --arg EXTRA=cpu

1. `read` gives the instructions of the Dockerfile. One that is not known here is an error, never left out.
2. A stage lies as an overlay on the tree that its FROM names. Nothing of that tree is copied or changed.
3. COPY takes what the ignore file lets through, or the files of another stage.
4. RUN has the stage's environment, folder and user. A cache is a folder of DIR; secrets are not there.

`unshare` gives the mounts a namespace of their own, so they are gone with the process. Needs root.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "infra/docker/Dockerfile"

PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


class BuildError(Exception):
    """The Dockerfile cannot be executed; the message says why."""


@dataclass
class Stage:
    """One FROM, and what was done since."""

    name: str
    tree: Path
    """Where its files are seen."""
    layers: tuple[Path, ...]
    """What lies under each other there, the newest first."""
    environ: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"


def read(text: str) -> Iterator[tuple[str, str]]:
    """Instruction and its words, for each of a Dockerfile."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    for line in joined.splitlines():
        name, _, words = line.strip().partition(" ")
        if name:
            yield name.upper(), words.strip()


def put_in(text: str, values: Mapping[str, str]) -> str:
    """Put values in for $NAME and ${NAME}. Raises BuildError for a name without one."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in values:
            raise BuildError(f"{match[0]} has no value in: {text}")
        return values[name]

    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, text)


class Builder:
    """The stages of one Dockerfile, as far as they are built."""

    def __init__(
        self, base: Path, work: Path, arguments: Mapping[str, str], environ: Mapping[str, str]
    ) -> None:
        self._base = base
        self._work = work
        self._given = dict(arguments)
        self._environ = {"PATH": PATH, **environ}
        self._global: dict[str, str] = {}
        self._stages: dict[str, Stage] = {}
        self._now: Stage | None = None
        kept = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
        self._context = [line[1:] for line in kept if line.startswith("!")]

    @property
    def stage(self) -> Stage:
        """The stage that is being built. Raises BuildError before the first FROM."""
        if self._now is None:
            raise BuildError("an instruction stands before the first FROM")
        return self._now

    def do(self, name: str, words: str) -> None:
        """Execute one instruction. Raises BuildError, subprocess.CalledProcessError, OSError."""
        if name == "ARG":
            key, _, default = words.partition("=")
            value = self._given.get(key, default.strip('"'))
            (self._global if self._now is None else self.stage.arguments)[key] = value
            return
        if name == "FROM":
            self._begin(words)
            return
        done: dict[str, Callable[[str], None]] = {
            "COPY": self._copy,
            "RUN": self._run,
            "ENV": self._set,
            "WORKDIR": self._enter,
            "USER": self._become,
            "LABEL": _say_nothing,
            "CMD": _say_nothing,
        }
        if name not in done:
            raise BuildError(f"{name} is not known here: add it, or do without")
        done[name](words)

    def _begin(self, words: str) -> None:
        origin, _, name = (part.strip() for part in words.partition(" AS "))
        origin = put_in(origin, self._global)
        below = self._stages.get(origin)
        folder = self._work / name
        upper, room, tree = folder / "upper", folder / "room", folder / "tree"
        for path in (upper, room, tree):
            path.mkdir(parents=True)
        layers = below.layers if below else (self._base,)
        option = f"lowerdir={':'.join(map(str, layers))},upperdir={upper},workdir={room}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", option, str(tree)], check=True)
        for kernel in ("proc", "sys", "dev"):
            (tree / kernel).mkdir(exist_ok=True)
            subprocess.run(["mount", "--rbind", f"/{kernel}", str(tree / kernel)], check=True)
        shutil.copyfile("/etc/resolv.conf", tree / "etc/resolv.conf")
        self._now = self._stages[name] = Stage(
            name=name,
            tree=tree,
            layers=(upper, *layers),
            environ=dict(below.environ if below else self._environ),
            folder=below.folder if below else "/",
            user=below.user if below else "0:0",
        )

    def _values(self) -> dict[str, str]:
        return {**self.stage.arguments, **self.stage.environ}

    def _inside(self, path: str, stage: Stage) -> Path:
        return stage.tree / (Path(stage.folder) / path).relative_to("/")

    def _copy(self, words: str) -> None:
        *sources, target = put_in(words, self._values()).split()
        to = self._inside(target, self.stage)
        if sources[0].startswith("--from="):
            other = self._stages[sources.pop(0).removeprefix("--from=")]
            found = [self._inside(source, other) for source in sources]
        else:
            found = [self._of_context(source) for source in sources]
        many = target.endswith("/") or len(found) > 1
        for path in found:
            new = to / path.name if many and path.is_file() else to
            new.parent.mkdir(parents=True, exist_ok=True)
            words_of_cp = ["cp", "-a", "--no-preserve=ownership", "-T", str(path), str(new)]
            subprocess.run(words_of_cp, check=True)
            if path.is_relative_to(ROOT):
                for compiled in list(new.rglob("__pycache__")):
                    shutil.rmtree(compiled)

    def _of_context(self, source: str) -> Path:
        if not any(fnmatch.fnmatch(source, kept) for kept in self._context):
            raise BuildError(f"the ignore file does not let {source} through")
        return ROOT / source

    def _run(self, words: str) -> None:
        values = self._values()
        stage = self.stage
        for mount in re.findall(r"--mount=(\S+)", words):
            options = dict(part.split("=", 1) for part in mount.split(","))
            if options["type"] == "cache":
                cache = self._work / "cache" / options["target"].strip("/")
                here = self._inside(options["target"], stage)
                for path in (cache, here):
                    path.mkdir(parents=True, exist_ok=True)
                subprocess.run(["mount", "--bind", str(cache), str(here)], check=True)
            elif options["type"] != "secret":
                raise BuildError(f"--mount of type {options['type']} is not known here")
        self.shell(re.sub(r"--mount=\S+", "", words).strip(), values)

    def shell(self, command: str, values: Mapping[str, str] | None = None) -> None:
        """Run a command in the stage, as its user. Raises subprocess.CalledProcessError."""
        stage = self.stage
        home = "/root" if stage.user.startswith("0") else "/home/terraquery"
        given = {"HOME": home, **(self._values() if values is None else values)}
        environ = [f"{name}={value}" for name, value in given.items()]
        script = f"cd {shlex.quote(stage.folder)} && {command}"
        into = ["chroot", f"--userspec={stage.user}", str(stage.tree), "/usr/bin/env", "-i", *environ]
        subprocess.run([*into, "/bin/sh", "-c", script], check=True)

    def _set(self, words: str) -> None:
        for pair in shlex.split(words):
            name, _, value = pair.partition("=")
            self.stage.environ[name] = put_in(value, self._values())

    def _enter(self, words: str) -> None:
        self.stage.folder = put_in(words, self._values())
        self._inside(self.stage.folder, self.stage).mkdir(parents=True, exist_ok=True)

    def _become(self, words: str) -> None:
        self.stage.user = words


def _say_nothing(_: str) -> None:
    """What LABEL and CMD do to the files of an image."""


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE of the command line."""
    name, _, value = text.partition("=")
    return name, value


def main(argv: list[str] | None = None) -> int:
    """Build all stages, and run a command in the last; returns the exit code."""
    top = argparse.ArgumentParser(
        "build_in_chroot.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--base", type=Path, required=True, metavar="TREE", help="stands for the base image")
    top.add_argument("--work", type=Path, required=True, metavar="DIR", help="empty, or with a cache/")
    top.add_argument("--arg", type=pair, action="append", default=[], metavar="NAME=VALUE")
    top.add_argument(
        "--env", type=pair, action="append", default=[], metavar="NAME=VALUE", help="of the base"
    )
    top.add_argument("--then", default="", metavar="COMMAND", help="run in the image, as its user")
    args = top.parse_args(argv)
    builder = Builder(args.base, args.work, dict(args.arg), dict(args.env))
    try:
        for name, words in read(DOCKERFILE.read_text()):
            sys.stdout.write(f"{name} {words}\n")
            sys.stdout.flush()
            builder.do(name, words)
        if args.then:
            builder.shell(args.then)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"error: exit code {error.returncode} of: {error.cmd[-1]}\n")
        return 1
    except (BuildError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
