"""A Swift program of somebody else's that only tokenises needs neither OpenBLAS nor libcrypto.
Needs no packages.

    python checks/check_libraries.py

Makes a package outside of this one that depends on the library PixtralText, with
Snippets/TextToTokens.swift as its program; builds it, runs it, and looks at what it is linked to.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MANIFEST = f"""// swift-tools-version: 6.3
import PackageDescription

let package = Package(
  name: "stranger", dependencies: [.package(name: "pixtral-ref", path: "{ROOT}")],
  targets: [.executableTarget(name: "stranger", dependencies: [.product(name: "PixtralText", package: "pixtral-ref")])])
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder, "Sources", "stranger")
        sources.mkdir(parents=True)
        Path(folder, "Package.swift").write_text(MANIFEST)
        (sources / "main.swift").write_text((ROOT / "Snippets" / "TextToTokens.swift").read_text())
        subprocess.run(
            ["swift", "build", "-c", "release", "--package-path", folder],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        program = Path(folder, ".build", "release", "stranger")
        answer = subprocess.run([program], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        linked = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    unwanted = [name for name in ("openblas", "libcrypto", "libssl") if name in linked]
    print(f"{answer.splitlines()[0]}, linked to {', '.join(unwanted) or 'neither OpenBLAS nor libcrypto'}")
    return 1 if unwanted or not answer.startswith("[23325, 2294]") else 0


sys.exit(main())
