"""Nothing is lost and nothing is half-written: every command that writes, stopped, starved and run
against itself.

usage: check_outputs.py BINARY [--rounds 200] [--seed 0]        no packages needed

Each command writes to a place that holds an older whole output, another one of the same kind. After
every round the place is compared with what was promised, byte for byte: all of the older output or
all of the new one, and nothing else. A run that ends with 0 has left the new one, a run that is
refused the older one; one that is stopped, either.

Only `kill -9` may leave more: files that end in .pixtral-ref-partial, which the next run removes; and
if it falls into the moment in which the files of one output change their names, an output without
the file that makes it one (trace.json, params.json, config.json). How often that was is printed.

As root it mounts small file systems in memory, so that disks can be full.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CASES = ROOT / "Fixtures" / "cases" / "model" / "tiny"
IMAGES = ROOT / "Fixtures" / "images"
PARTIAL = ".pixtral-ref-partial"
PRECIOUS = b"somebody's only copy"
# Bits of a trace do not differ from run to run, and the machine is shared.
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1"}


@dataclasses.dataclass
class Job:
    """A command that writes, in two forms whose outputs differ."""

    name: str
    old: list[str]
    new: list[str]
    # Without it the output is none; None for an output of one file, which is there or not.
    entry: str | None
    # Each is an option, and the name of what it writes below the folder of a round.
    outputs: list[tuple[str, str]]

    def command(self, binary: str, arguments: list[str], folder: Path) -> list[str]:
        return [
            binary,
            *arguments,
            *(part for option, name in self.outputs for part in (option, f"{folder}/{name}")),
        ]


def jobs() -> list[Job]:
    def trace(request: str, *more: str) -> list[str]:
        return ["trace", "--request", f"{CASES}/{request}/request.json", *more]

    def images(*names: str) -> list[str]:
        return ["image", *(f"{IMAGES}/{name}" for name in names)]

    write = ["checkpoint", "write", "seeded:tiny"]
    shards, hf = ["--shard-megabytes", "3"], ["--layout", "hf"]
    return [
        Job(
            "trace",
            trace("text"),
            trace("small-rgba", "--taps", "vision.*,logits"),
            "trace.json",
            [("--out", "out")],
        ),
        Job(
            "image --pixels",
            images("model-left.jpg"),
            images("model-alpha.png", "model-right.png"),
            None,
            [("--pixels", "p.st")],
        ),
        Job(
            "image --preview",
            images("model-left.jpg"),
            images("model-alpha.png"),
            None,
            [("--preview", "p.png")],
        ),
        Job("checkpoint, mistral", write + shards, write, "params.json", [("--out", "out")]),
        Job("checkpoint, mistral, sharded", write, write + shards, "params.json", [("--out", "out")]),
        Job("checkpoint, hf", write + hf + shards, write + hf, "config.json", [("--out", "out")]),
        Job("checkpoint, hf, sharded", write + hf, write + hf + shards, "config.json", [("--out", "out")]),
    ]


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder below, with the SHA-256 of its bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Check:
    def __init__(self, binary: str, seed: int, work: Path):
        self.binary = binary
        self.random = random.Random(seed)
        self.work = work
        self.wrong = 0
        self.references: dict[tuple[str, str], Path] = {}
        self.seconds: dict[str, float] = {}

    # ---- runs

    def start(self, job: Job, which: str, folder: Path, **options) -> subprocess.Popen:
        arguments = job.old if which == "old" else job.new
        return subprocess.Popen(
            job.command(self.binary, arguments, folder),
            stdout=options.pop("stdout", subprocess.DEVNULL),
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            **options,
        )

    def run(self, job: Job, which: str, folder: Path, **options) -> tuple[int, str]:
        process = self.start(job, which, folder, **options)
        return self.end(process)

    @staticmethod
    def end(process: subprocess.Popen) -> tuple[int, str]:
        _, error = process.communicate(timeout=120)
        return process.returncode, error.decode(errors="replace")

    def reference(self, job: Job, which: str) -> Path:
        """A folder with a whole output, made undisturbed."""
        key = (job.name, which)
        if key not in self.references:
            folder = self.work / f"reference-{len(self.references)}"
            folder.mkdir()
            start = time.perf_counter()
            code, error = self.run(job, which, folder)
            self.seconds[job.name] = time.perf_counter() - start
            assert code == 0, f"{job.name}: {error}"
            self.references[key] = folder
        return self.references[key]

    def promised(self, job: Job, which: str | None) -> dict[str, str]:
        return contents(self.reference(job, which)) if which else {}

    @contextlib.contextmanager
    def place(self, job: Job, holds: str | None):
        """A folder that holds an older output, or nothing."""
        folder = Path(tempfile.mkdtemp(dir=self.work))
        if holds:
            shutil.copytree(self.reference(job, holds), folder, dirs_exist_ok=True)
        yield folder
        shutil.rmtree(folder)

    def expect(self, job: Job, what: str, condition: bool, detail: object = "") -> bool:
        if not condition:
            self.wrong += 1
            print(f"WRONG  {job.name}: {what}: {detail}")
        return condition

    def expect_result(self, job: Job, what: str, folder: Path, holds: str | None, code: int, error: str):
        """The new output behind exit code 0, the older one where the run was refused, and one of
        them where it was stopped; nothing besides.
        """
        found = contents(folder)
        promised = {0: ["new"], 2: [holds]}.get(code, ["new", holds])
        self.expect(
            job,
            what,
            found in [self.promised(job, which) for which in promised],
            f"exit {code}, {error!r}, found {sorted(found)}",
        )
        if code == 2:
            self.expect(
                job, what, error.startswith("Error: ") and error.count("\n") == 1, f"no sentence: {error!r}"
            )

    # ---- what may happen

    def stopped(self, job: Job, rounds: int) -> str:
        """A signal at a random time."""
        early = 0
        for _ in range(rounds):
            holds = self.random.choice(["old", None])
            number = self.random.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
            with self.place(job, holds) as folder:
                # A shell that started this in the background may have had SIGINT ignored.
                process = self.start(
                    job, "new", folder, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)
                )
                time.sleep(self.random.uniform(0, 1.1 * self.seconds[job.name]))
                process.send_signal(number)
                code, error = self.end(process)
                early += code != 0
                self.expect(job, "a signal", code in (0, -number), f"exit {code}, {error!r}")
                self.expect_result(job, f"signal {number}", folder, holds, code, error)
        return f"{early} of {rounds} stopped in time"

    def killed(self, job: Job, rounds: int) -> str:
        """kill -9 at a random time, and the same command again."""
        early = partial = between = lost = 0
        for _ in range(rounds):
            holds = self.random.choice(["old", None])
            with self.place(job, holds) as folder:
                process = self.start(job, "new", folder)
                time.sleep(self.random.uniform(0, 1.1 * self.seconds[job.name]))
                process.kill()
                early += self.end(process)[0] != 0
                found = contents(folder)
                whole = {name: digest for name, digest in found.items() if not name.endswith(PARTIAL)}
                partial += whole != found
                # A folder that was made for the output stays.
                if whole not in [self.promised(job, which) for which in ("new", holds)] and whole != {
                    "out": "folder"
                }:
                    between += 1
                    lost += holds is not None
                    self.expect(
                        job,
                        "kill -9",
                        job.entry is not None and f"out/{job.entry}" not in whole,
                        sorted(found),
                    )
                code, error = self.run(job, "new", folder)
                self.expect(job, "behind kill -9", code == 0, error)
                self.expect_result(job, "behind kill -9", folder, holds, code, error)
        return f"{early} of {rounds} killed in time, {partial} left partial files, {between} no entry ({lost} in the place of an older output)"

    def twice(self, job: Job, rounds: int) -> str:
        """Two runs at once, with two different outputs, for one place."""
        refused = 0
        for _ in range(rounds):
            holds = self.random.choice(["old", None])
            with self.place(job, holds) as folder:
                both = ["old", "new"]
                self.random.shuffle(both)
                processes = []
                for which in both:
                    processes.append(self.start(job, which, folder))
                    time.sleep(self.random.choice([0, 0, self.random.uniform(0, self.seconds[job.name])]))
                ends = [self.end(process) for process in processes]
                codes = [code for code, _ in ends]
                refused += 2 in codes
                self.expect(job, "twice at once", 0 in codes and set(codes) <= {0, 2}, ends)
                for code, error in ends:
                    said = "another run writing it" in error
                    self.expect(job, "twice at once", code == 0 or said, error)
                won = [which for which, code in zip(both, codes) if code == 0]
                found = contents(folder)
                self.expect(
                    job,
                    "twice at once",
                    found in [self.promised(job, which) for which in won],
                    (codes, sorted(found)),
                )
        return f"in {refused} of {rounds} one was refused"

    def full(self, job: Job, rounds: int) -> str:
        """A disk with too little room, or just enough; a limit on the size of files."""
        size = {
            which: sum(p.stat().st_size for p in self.reference(job, which).rglob("*"))
            for which in ("old", "new")
        }
        refused = 0
        for n in range(rounds):
            holds = self.random.choice(["old", None])
            used = size["old"] if holds else 0
            with self.place(job, holds) as folder:
                limit = self.random.randrange(1, 1 + int(1.2 * size["new"]))
                if n % 2 and os.geteuid() == 0:
                    disk = self.work / "disk"
                    disk.mkdir(exist_ok=True)
                    pages = (used + limit) // 4096 + 8
                    subprocess.run(
                        ["mount", "-t", "tmpfs", "-o", f"size={4096 * pages}", "none", disk], check=True
                    )
                    try:
                        shutil.copytree(folder, disk, dirs_exist_ok=True)
                        code, error = self.run(job, "new", disk)
                        self.expect_result(job, "full disk", disk, holds, code, error)
                    finally:
                        subprocess.run(["umount", disk], check=True)
                else:
                    code, error = self.run(
                        job,
                        "new",
                        folder,
                        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
                    )
                    self.expect_result(job, "limit on files", folder, holds, code, error)
                refused += code != 0
                self.expect(job, "full disk", code in (0, 2), f"exit {code}, {error!r}")
        return f"{refused} of {rounds} refused"

    def links(self, job: Job) -> str:
        """Links, hard links, folders, pipes and devices under every name of the output."""
        names = [name for name, digest in self.promised(job, "new").items() if digest != "folder"]
        for name in names:
            for kind in ["link", "dangling link", "link to a device", "folder", "pipe", "protected"]:
                with self.place(job, None) as folder:
                    precious = folder / "precious"
                    precious.write_bytes(PRECIOUS)
                    target = folder / name
                    target.parent.mkdir(exist_ok=True)
                    match kind:
                        case "link":
                            target.symlink_to(precious)
                        case "dangling link":
                            target.symlink_to(folder / "none")
                        case "link to a device":
                            target.symlink_to("/dev/null")
                        case "folder":
                            target.mkdir()
                        case "pipe":
                            os.mkfifo(target)
                        case "protected":
                            # Root may write to it, whatever its mode.
                            if os.geteuid() == 0:
                                continue
                            target.write_bytes(PRECIOUS)
                            target.chmod(0o444)
                    if kind == "pipe":
                        code, error = self.run(job, "new", folder)
                        left = sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
                        self.expect(job, kind, left == sorted({"precious", name, *self.above(name)}), left)
                    else:
                        before = contents(folder)
                        code, error = self.run(job, "new", folder)
                        self.expect(
                            job, f"{kind} under {name}", contents(folder) == before, sorted(contents(folder))
                        )
                    self.expect(
                        job, f"{kind} under {name}", code == 2 and error.count("\n") == 1, (code, error)
                    )
            # A second name of an older file keeps its bytes.
            with self.place(job, "old") as folder:
                if (folder / name).exists():
                    os.link(folder / name, folder / "second")
                    before = (folder / "second").read_bytes()
                    code, error = self.run(job, "new", folder)
                    self.expect(
                        job, "hard link", code == 0 and (folder / "second").read_bytes() == before, error
                    )
        return f"{len(names)} names, 7 kinds"

    @staticmethod
    def above(name: str) -> list[str]:
        return [str(p) for p in Path(name).parents if str(p) != "."]

    def places(self, job: Job) -> str:
        """Folders that cannot be written, are links, or are new for two runs at once; names that are
        no file's; a standard output that takes nothing."""
        with self.place(job, "old") as folder:
            before = contents(folder)
            for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
                path.chmod(0o555)
            user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
            self.work.chmod(0o755)
            readable = self.work.parent.stat().st_mode & 0o001 and os.access(self.binary, os.X_OK)
            if readable:
                code, error = self.run(job, "new", folder, **user)
                said = "Permission denied" in error or "write-protected" in error
                self.expect(
                    job, "read-only folder", code == 2 and said and contents(folder) == before, (code, error)
                )
            for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
                path.chmod(0o755)
        with self.place(job, None) as folder:
            (folder / "real").mkdir()
            (folder / "link").symlink_to("real")
            code, error = self.run(job, "new", folder / "link")
            self.expect(
                job,
                "linked folder",
                code == 0 and contents(folder / "real") == self.promised(job, "new"),
                error,
            )
        with self.place(job, None) as folder:
            (folder / "a").mkdir()
            code, error = self.run(job, "new", folder / "a" / ".." / "a")
            self.expect(job, "..", code == 0 and contents(folder / "a") == self.promised(job, "new"), error)
        for output, closes in [("/dev/full", False), (None, True)]:
            with self.place(job, "old") as folder:
                if closes:
                    read, write = os.pipe()
                    os.close(read)
                else:
                    write = os.open(output, os.O_WRONLY)
                code, error = self.run(job, "new", folder, stdout=write)
                os.close(write)
                found = contents(folder)
                both = [self.promised(job, "old"), self.promised(job, "new")]
                self.expect(job, "standard output", code != 0 and found in both, (code, error, sorted(found)))
        if job.entry:
            for _ in range(20):
                with self.place(job, None) as folder:
                    processes = [self.start(job, "new", folder / "new" / name) for name in "abc"]
                    if self.random.random() < 0.5:
                        time.sleep(self.random.uniform(0, self.seconds[job.name]))
                        processes[0].terminate()
                    codes = [self.end(process)[0] for process in processes]
                    expected = {}
                    for name, code in zip("abc", codes):
                        if code == 0:
                            expected |= {"new": "folder", f"new/{name}": "folder"}
                            expected |= {f"new/{name}/{k}": v for k, v in self.promised(job, "new").items()}
                    self.expect(
                        job, "new folders", codes[1:] == [0, 0] and contents(folder) == expected, codes
                    )
        for _ in range(20):
            with self.place(job, None) as folder:
                inner = folder / "inner"
                inner.mkdir()
                process = self.start(job, "new", inner)
                time.sleep(self.random.uniform(0, self.seconds[job.name]))
                inner.rename(folder / "moved")
                shutil.rmtree(folder / "moved", ignore_errors=True)
                code, error = self.end(process)
                self.expect(job, "folder removed meanwhile", code in (0, 2), (code, error))
        with self.place(job, None) as folder:
            option = job.outputs[0][0]
            for name in ["", "/dev/full", "/proc/x/y", f"{folder}/{'x' * 256}", f"{IMAGES}/model-left.jpg/x"]:
                code, error = self.end(
                    subprocess.Popen(
                        [self.binary, *job.new, option, name],
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.PIPE,
                        env=ENVIRONMENT,
                    )
                )
                self.expect(
                    job, f"{option} {name[:40]!r}", code == 2 and error.count("\n") == 1, (code, error)
                )
            self.expect(job, "refused names", contents(folder) == {}, contents(folder))
        return "as promised"


def inputs(check: Check) -> str:
    """An output never takes the place of a file that the same command reads."""
    job = Job("inputs", [], [], None, [])
    tried = 0
    request = CASES / "text" / "request.json"
    tokenizer = ROOT / "Fixtures" / "tokenizer" / "mistral_instruct_tokenizer_241114.model.v7m1"
    for how in ["itself", "link", "hard link"]:
        for source, name, arguments in [
            (request, "trace.json", ["trace", "--request", "IN", "--out", "OUT"]),
            (request, "trace.safetensors", ["trace", "--request", "IN", "--out", "OUT"]),
            (tokenizer, "trace.json", ["trace", "--request", request, "--tokenizer", "IN", "--out", "OUT"]),
            (
                tokenizer,
                "tokenizer.model.v7m1",
                ["checkpoint", "write", "seeded:tiny", "--tokenizer", "IN", "--out", "OUT"],
            ),
            (IMAGES / "model-left.jpg", "p", ["image", "IN", "--pixels", "OUT/p"]),
            (IMAGES / "model-left.jpg", "p", ["image", "IN", "--preview", "OUT/p"]),
            (IMAGES / "model-left.jpg", "p" + PARTIAL, ["image", "IN", "--preview", "OUT/p"]),
        ]:
            with check.place(job, None) as folder:
                target = folder / name
                path = target
                if how != "itself":
                    path = folder / "input"
                shutil.copy(source, path)
                match how:
                    case "link":
                        target.symlink_to(path)
                    case "hard link":
                        os.link(path, target)
                before = contents(folder)
                command = [
                    str(part).replace("IN", str(path)).replace("OUT", str(folder)) for part in arguments
                ]
                code, error = check.end(
                    subprocess.Popen(
                        [check.binary, *command],
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.PIPE,
                        env=ENVIRONMENT,
                    )
                )
                check.expect(
                    job, f"{how} {name}", code in (2, 64) and contents(folder) == before, (code, error)
                )
                tried += 1
    return f"{tried} refused"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("binary")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        Path(work).chmod(0o755)
        check = Check(os.path.abspath(options.binary), options.seed, Path(work))
        print(f"inputs: {inputs(check)}")
        for job in jobs():
            for which in ("old", "new"):
                check.reference(job, which)
            print(f"{job.name}: {1000 * check.seconds[job.name]:.0f} ms")
            for title, part in [
                ("links", check.links),
                ("places", check.places),
                ("full disk", lambda job: check.full(job, options.rounds)),
                ("signal", lambda job: check.stopped(job, options.rounds)),
                ("kill -9", lambda job: check.killed(job, options.rounds)),
                ("twice at once", lambda job: check.twice(job, options.rounds)),
            ]:
                print(f"  {title}: {part(job)}", flush=True)
    print("nothing lost, nothing half-written" if check.wrong == 0 else f"{check.wrong} WRONG")
    sys.exit(check.wrong != 0)


main()
