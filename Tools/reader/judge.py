"""Reads the cases of Fixtures/cases and judges answers to them, by Docs/Cases.md; needs no package.

python judge.py CASES RESULTS [ARITHMETIC]      RESULTS/ID/answer.json is the answer to the case ID
"""

import base64, csv, hashlib, json, math, pathlib, struct, sys  # noqa: E401

LEAST = {"float64": 2**-55, "float32": 2**-26, "tf32": 2**-13, "float16": 2**-13, "bfloat16": 2**-10}


def cases(root):  # each with its `folder`, from which its files are named
    for path in sorted(pathlib.Path(root).rglob("*.*")):
        if path.name == "case.json":
            yield {"folder": path.parent} | json.loads(path.read_text("utf-8"))
        elif path.suffix in (".jsonl", ".csv"):
            shared = json.loads(path.with_suffix(".json").read_text("utf-8"))["shared"]
            rows = csv.DictReader(path.open()) if path.suffix == ".csv" else map(json.loads, path.open("rb"))
            for row in rows:
                text = json.dumps({"folder": str(path.parent)} | shared)
                if path.suffix == ".csv":  # numbers fill placeholders; words take the place of keys
                    for key, cell in row.items():
                        text = text.replace(f'"{{{key}}}"', cell).replace(f"{{{key}}}", cell)
                    words = {key: row[key] for key in ("exposes", "conflicts_with", "since") if row.get(key)}
                    row = {key: cell if key == "since" else cell.split() for key, cell in words.items()}
                yield json.loads(text) | row


def tensors(*path):  # {name: (dtype, shape, bytes)} of a safetensors file
    start = 8 + struct.unpack("<Q", (data := memoryview(pathlib.Path(*path).read_bytes()))[:8])[0]
    named = [(n, t) for n, t in json.loads(bytes(data[8:start])).items() if n != "__metadata__"]
    return {n: (t["dtype"], t["shape"], data[start:][slice(*t["data_offsets"])]) for n, t in named}


def values(dtype, _, data):
    if dtype == "BF16":  # the high half of a float32
        dtype, data = "F32", b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
    return [x for (x,) in struct.iter_unpack({"F64": "<d", "F32": "<f", "F16": "<e"}[dtype], data)]


def distances(a, e, columns, kept=None):  # relF; the worst row's; the largest over RMS; and it alone
    a = [x for row in kept for x in a[row * columns : (row + 1) * columns]] if kept and len(a) > len(e) else a
    off = [x - y for x, y in zip(a, e, strict=False)] + [math.inf] * (len(a) != len(e))
    rows, size = [slice(at, at + columns) for at in range(0, len(e), columns)], math.hypot(*e)
    worst = max(math.hypot(*off[row]) / (math.hypot(*e[row]) or math.ulp(0)) for row in rows)
    return math.hypot(*off) / size, worst, (most := max(map(abs, off))) / size * math.sqrt(len(e)), most


def judge(case, answer, folder="", arithmetic="float32"):  # (verdict, a model's first wrong tap)
    expect, compare = case["expect"], case["compare"]
    if "unsupported" in answer:
        return "unsupported", None
    try:
        if "reject" in {*answer, *expect}:
            right = "reject" in {*answer} & {*expect}
        elif case["stage"] in ("tokens", "grid"):
            keys = [key for key in ("tokens", "columns", "rows") if key in expect] or ["text"]
            right = all(answer[key] == expect[key] for key in keys)
        elif case["stage"] in ("model", "answer", "steps"):
            return judge_taps(case, tensors(folder, answer["tensors"]), arithmetic)
        else:
            dtype, shape, data = tensors(folder, answer["tensors"])[case["stage"]]
            right = shape == expect.get("shape", [expect.get("height"), expect.get("width"), 3])
            if right and case["stage"] == "rgb":
                rgb = expect.get("sha256") or hashlib.sha256(base64.b64decode(expect["rgb"])).hexdigest()
                right = hashlib.sha256(data).hexdigest() == rgb
            elif right:
                kept = [channel * shape[1] + row for channel in range(3) for row in expect.get("rows", [])]
                e = values(*tensors(case["folder"], expect["file"])[expect["tensor"]])
                d = distances(values(dtype, shape, data), e, shape[2], kept)
                right = d[0] <= compare.get("relF", math.inf) and d[3] <= compare.get("max_abs", math.inf)
        return ("passed" if right else "failed"), None
    except (KeyError, OSError, ValueError, struct.error) as error:
        return "malformed", repr(error)


def judge_taps(case, found, arithmetic):
    expect, compare, results = case["expect"], case["compare"], {"malformed": ""}
    golden = tensors(case["folder"], expect.get("tensors", expect.get("file")))
    envelope = "envelope" in compare and json.loads(open(f"{case['folder']}/{compare['envelope']}").read())
    if "relF" in compare:  # one tensor, whose noise stands in the case
        tap = "output" if case["stage"] == "steps" else "logprobs"
        noise = {a: {"relF": {s: [n] for s, n in of.items()}} for a, of in compare["relF"].items()}
        golden, envelope = {tap: golden[expect["tensor"]]}, {"taps": [tap], "arithmetics": noise}
    for n, tap in ((n, tap) for n, tap in enumerate(envelope["taps"]) if tap in found):
        own = max(found[tap][0].lower().replace("f", "float"), arithmetic, key=[*LEAST].index)  # the narrower
        noise = max(LEAST[own], *(row[n] for row in envelope["arithmetics"][own]["relF"].values()))
        close, far = [compare[own]["relF"]] * 2 if own in compare else (2 * noise, 8 * noise)
        kept, columns = expect.get("rows", {}).get(tap), golden[tap][1][1]
        d = distances(values(*found[tap]), values(*golden[tap]), columns, kept)
        most = d[0] if own in compare else max(d[0], d[1] / 10, d[2] / 100)
        results.setdefault("passed" if most <= close else "undecided" if most <= far else "failed", tap)
    verdict = next(v for v in ("failed", "undecided", "passed", "malformed") if v in results)
    return verdict, results[verdict] if verdict in ("failed", "undecided") else None


if __name__ == "__main__":
    for case in cases(sys.argv[1]):
        if (path := pathlib.Path(sys.argv[2], case["id"], "answer.json")).exists():
            answer = json.loads(path.read_text("utf-8"))
            print(case["id"], *filter(None, judge(case, answer, path.parent, *sys.argv[3:])))
