"""The runs of the folders below Tools/runtimes: what install.py and judge.py read. README.md has the format."""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INSTALLED = ROOT / ".build" / "runtimes"  # where environments are made unless told otherwise
TOKENIZER = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
REPORTS = ROOT / "Fixtures" / "runtimes"

STAGES = ["rgb", "grid", "tokens", "pixels", "model", "answer", "steps"]  # as the kit asks them
FOLDER_KEYS = {"runtime", "about", "environments", "runs"}
ENVIRONMENT_KEYS = {"requirements", "build", "sources"}
RUN_KEYS = {
    "id",
    "environment",
    "command",
    "layout",
    "arithmetic",
    "stages",
    "timeout",
    "profile",
    "upstream",
    "notes",
}
OPTIONAL = {"build", "sources", "timeout", "profile", "upstream", "notes"}


class Wrong(Exception):
    """A sentence for the user: what is wrong, where, and what to do."""


def folders() -> dict[str, dict]:
    """Of each folder with a runs.json what it says, by the folder's name."""
    found = {path.parent.name: read(path) for path in sorted(HERE.glob("*/runs.json"))}
    for names in (
        [run["id"] for folder in found.values() for run in folder["runs"]],
        [name for folder in found.values() for name in folder["environments"]],
    ):
        for name in names:
            if names.count(name) > 1:
                raise Wrong(f"{name} is there twice in Tools/runtimes/*/runs.json: give one another name")
    return found


def servers() -> dict[str, dict]:
    """The servers of servers.json, by their names, in its order."""
    return json.loads((HERE / "servers.json").read_text(encoding="utf-8"))


def read(path: Path) -> dict:
    place = path.relative_to(ROOT)
    try:
        folder = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Wrong(f"{place}: no JSON ({error})") from error
    check_keys(folder, FOLDER_KEYS, str(place))
    for name, environment in folder["environments"].items():
        check_keys(environment, ENVIRONMENT_KEYS, f"{place}: environment {name}")
        files = [environment["requirements"], environment.get("build"), *environment.get("sources", [])]
        for file in files:
            if file and not (path.parent / file).is_file():
                raise Wrong(f"{place}: environment {name} names {file}, which is not in that folder")
    for run in folder["runs"]:
        check_keys(run, RUN_KEYS, f"{place}: run {run.get('id')}")
        if run["environment"] not in folder["environments"]:
            raise Wrong(
                f"{place}: run {run['id']} is of environment {run['environment']}, which is not there"
            )
        for stage in run["stages"]:
            if stage not in STAGES:
                raise Wrong(f"{place}: run {run['id']} has stage {stage}; there are {', '.join(STAGES)}")
    return folder


def check_keys(value: dict, keys: set[str], place: str) -> None:
    for key in value.keys() - keys:
        raise Wrong(f"{place} has {key}, which means nothing; there are {', '.join(sorted(keys))}")
    for key in keys - OPTIONAL - value.keys():
        raise Wrong(f"{place} lacks {key}")


def environment_of(name: str) -> tuple[str, str, dict]:
    """The folder, name and settings of an environment, by its own name or that of a run in it."""
    found = folders()
    for folder, content in found.items():
        for run in content["runs"]:
            if name == run["id"]:
                name = run["environment"]
        if name in content["environments"]:
            return folder, name, content["environments"][name]
    names = sorted(name for content in found.values() for name in content["environments"])
    raise Wrong(f"there is no environment and no run {name}; environments: {', '.join(names)}")


def run_of(name: str) -> tuple[str, dict]:
    """The folder and the settings of a run."""
    found = folders()
    for folder, content in found.items():
        for run in content["runs"]:
            if name == run["id"]:
                return folder, run
    names = sorted(run["id"] for content in found.values() for run in content["runs"])
    raise Wrong(f"there is no run {name}; runs: {', '.join(names)}")


def listed() -> str:
    """All runs with their environments, a line each."""
    return "\n".join(
        f"{run['id']:40} {folder}, environment {run['environment']}"
        for folder, content in folders().items()
        for run in content["runs"]
    )


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of a program that takes names; --list prints the runs and ends it."""
    parser.add_argument("--list", action="store_true", help="list the runs and their environments")
    options = parser.parse_args()
    if options.list:
        print(listed())
        sys.exit(0)
    if not options.names:
        parser.error("which? --list has the names")
    return options


def guarded(main) -> None:
    """Runs a program; what the user got wrong ends it with a sentence and exit 2."""
    try:
        sys.exit(main())
    except Wrong as wrong:
        print(f"{Path(sys.argv[0]).name}: {wrong}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
