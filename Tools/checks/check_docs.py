"""Every public symbol has a documentation comment. Run by `make docs`, which writes the symbol
graphs; needs no packages.

    python checks/check_docs.py FOLDER

FOLDER holds `*.symbols.json`, as swift-docc-plugin leaves them. Prints how many public symbols
there are and names those without a word; exits with 1 if there are any, or none at all.
Requirements of protocols that the standard library declares, such as `==`, speak for themselves.
"""

import json
import sys
from pathlib import Path


def main() -> int:
    graphs = {
        path.name: path
        for path in sorted(Path(sys.argv[1]).rglob("Pixtral*.symbols.json"))
        if "@" not in path.name
    }
    silent, count = [], 0
    for path in graphs.values():
        for symbol in json.loads(path.read_text())["symbols"]:
            if (
                symbol["accessLevel"] not in ("public", "open")
                or "::SYNTHESIZED::" in symbol["identifier"]["precise"]
            ):
                continue
            count += 1
            name = ".".join(symbol["pathComponents"])
            inherited = name.endswith(
                (".==(_:_:)", ".<(_:_:)", ".description", ".hash(into:)", ".init(rawValue:)")
            )
            if "docComment" not in symbol and not inherited:
                silent.append(f"{path.name.removesuffix('.symbols.json')}: {name}")
    print("\n".join(silent))
    print(f"{count} public symbols in {len(graphs)} libraries, {len(silent)} without documentation")
    return 1 if silent or not count else 0


sys.exit(main())
