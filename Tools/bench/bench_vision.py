"""The full vision encoder and adapter of Pixtral Large on one 512x512 photo: pixtral-ref beside
transformers, in one run.

    python bench_vision.py BINARY [--rounds 3] [--threads N] [--out FILE.json]

The two take turns, so that whatever else the machine does hits both. What is measured differs to
our disadvantage and is left so: pixtral-ref is a fresh process each time, which starts, reads the
photo, *makes the 1.5 billion weights it needs from the seeded function*, computes, writes the trace
and ends; the peer keeps its weights in memory and is timed for its forward pass alone.

The machine's own limit is a bare float32 matrix product of a shape that the encoder uses (1024 x
6144 x 1408), by the system's OpenBLAS through ctypes with the same number of threads, measured
before each round in a process of its own. The product counts 2*m*n*k operations; the encoder's
operations are counted from the shapes: every linear layer, the patch convolution as one, scores and
contexts, and the adapter.
"""

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
REQUEST = ROOT / "Fixtures" / "requests" / "photo-512.json"
GEMM = (1024, 6144, 1408)
OPENBLAS = "libopenblas.so.0"

# Docs/Model.md, section 1, last column.
E, LAYERS, INTERMEDIATE, DIM, PATCH_SAMPLES = 1408, 40, 6144, 12288, 3 * 16 * 16


def operations(patches):
    """Floating-point operations of one image, a multiplication and an addition counting two. Norms,
    softmax and activations are left out.
    """
    a_layer = 4 * E * E + 3 * E * INTERMEDIATE  # wq wk wv wo; w1 w2 w3
    linear = patches * (PATCH_SAMPLES * E + LAYERS * a_layer + E * DIM + DIM * DIM)
    attention = LAYERS * 2 * patches * patches * E  # scores and contexts, all heads together
    return 2 * (linear + attention)


def gemm_child(threads):
    """Runs in a process of its own: prints the GFLOP/s of the best of several products of the
    system's OpenBLAS, and its name for the core.
    """
    import numpy as np

    blas = ctypes.CDLL(OPENBLAS, mode=ctypes.RTLD_LOCAL)
    blas.openblas_set_num_threads(threads)
    blas.openblas_get_config.restype = ctypes.c_char_p
    blas.openblas_get_corename.restype = ctypes.c_char_p
    m, n, k = GEMM
    random = np.random.default_rng(1)
    a = random.standard_normal((m, k), dtype=np.float32)
    b = random.standard_normal((n, k), dtype=np.float32)
    c = np.zeros((m, n), dtype=np.float32)

    def address(x):
        return x.ctypes.data_as(ctypes.c_void_p)

    def product():
        # row major (101), a as it is (111), b transposed (112): the shape of linear(x, W)
        start = time.perf_counter()
        one, zero = ctypes.c_float(1), ctypes.c_float(0)
        blas.cblas_sgemm(101, 111, 112, m, n, k, one, address(a), k, address(b), k, zero, address(c), n)
        return time.perf_counter() - start

    product()
    expected = a[:2] @ b[:3].T
    if not np.allclose(c[:2, :3], expected, rtol=1e-3, atol=1e-2):
        sys.exit("the product is wrong: is this libopenblas built with 64-bit integers?")
    times = []
    while len(times) < 8 or (sum(times) < 2 and len(times) < 100):
        times.append(product())
    print(json.dumps({"best": 2 * m * n * k / min(times) / 1e9, "median": 2 * m * n * k / statistics.median(times) / 1e9,
                      "core": blas.openblas_get_corename().decode(), "config": blas.openblas_get_config().decode().strip()}))  # fmt: skip


def gemm(threads, environment):
    command = [sys.executable, __file__, "--gemm-child", str(threads)]
    return json.loads(
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    )


def ours(binary, environment):
    """Wall seconds from start to end of one process, and its peak resident memory in MiB, as wait4
    tells it.
    """
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryFile() as messages:
        command = [binary, "trace", "--checkpoint", "seeded:pixtral-large", "--request", str(REQUEST),
                   "--until", "adapter.w_out", "--taps", "adapter.w_out", "--out", out]  # fmt: skip
        start = time.perf_counter()
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=messages)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            messages.seek(0)
            sys.exit(
                f"{' '.join(command)}\nexit {child.returncode}\n{messages.read().decode(errors='replace')[-2000:]}"
            )
    return seconds, usage.ru_maxrss / 1024


class Peer:
    """vision_peer.py as a child that waits for work."""

    def __init__(self, threads, environment):
        command = [sys.executable, str(Path(__file__).with_name("vision_peer.py")), "--threads", str(threads)]
        self.child = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.line()  # "ready"

    def line(self):
        line = self.child.stdout.readline().strip()
        if not line:
            sys.exit(f"the peer ended, exit {self.child.wait()}")
        return line

    def ask(self, command):
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()
        return float(self.line())

    def end(self):
        peak = self.ask("quit")
        self.child.stdin.close()
        self.child.wait()
        return peak


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", nargs="?", help="path of pixtral-ref")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", help="also write everything measured as JSON")
    parser.add_argument("--gemm-child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.gemm_child:
        gemm_child(arguments.gemm_child)
        return
    if not arguments.binary:
        parser.error("the path of pixtral-ref is missing")
    threads = arguments.threads
    environment = os.environ | {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    patches = 32 * 32
    work = operations(patches) / 1e9

    say(f"{threads} threads, {arguments.rounds} rounds, {work:.0f} GFLOP an image; starting the peer")
    peer = Peer(threads, environment)
    our_seconds, our_peaks, peer_seconds, limits = [], [], [], []
    for number in range(arguments.rounds):
        limits.append(gemm(threads, environment))
        say(f"round {number + 1}: bare GEMM {limits[-1]['best']:.0f} GFLOP/s ({limits[-1]['core']})")
        seconds, peak = ours(arguments.binary, environment)
        our_seconds.append(seconds)
        our_peaks.append(peak)
        say(f"round {number + 1}: pixtral-ref {seconds:.2f} s")
        peer_seconds.append(peer.ask("run"))
        say(f"round {number + 1}: transformers {peer_seconds[-1]:.2f} s")
    peer_peak = peer.end()

    limit = max(x["best"] for x in limits)
    our_median, peer_median = statistics.median(our_seconds), statistics.median(peer_seconds)
    print(
        f"Pixtral Large vision encoder and adapter, {patches} patches, float32, {threads} threads, {platform.machine()}, {work:.0f} GFLOP"
    )
    print("| who | median s | min s | GFLOP/s (median) | share of the bare GEMM | peak RSS MiB |")
    print("|---|---|---|---|---|---|")
    rows = [
        ("pixtral-ref (whole process)", our_seconds, max(our_peaks)),
        ("transformers (forward pass alone)", peer_seconds, peer_peak),
    ]
    for name, seconds, peak in rows:
        rate = work / statistics.median(seconds)
        print(
            f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {rate:.0f} | {rate / limit:.0%} | {peak:.0f} |"
        )
    print(
        f"peer / ours: {peer_median / our_median:.2f} (medians), {min(peer_seconds) / min(our_seconds):.2f} (best)"
    )
    print(f"bare GEMM {GEMM[0]}x{GEMM[1]}x{GEMM[2]}: {limit:.0f} GFLOP/s, {limits[0]['config']}")
    if arguments.out:
        record = {"threads": threads, "gflop": work, "ours": {"seconds": our_seconds, "peak_mib": our_peaks},
                  "transformers": {"seconds": peer_seconds, "peak_mib": peer_peak}, "gemm": limits}  # fmt: skip
        Path(arguments.out).write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
