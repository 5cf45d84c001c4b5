"""Docs/Coverage.md: each step of the documents, its cases, and the mutants of its lines in the oracle.

`check_mutants.py --write` calls this.
"""

import collections
import re

INTRODUCTION = """\
# Coverage of the text

Which cases see each step of [Model.md](Model.md), [Tokens.md](Tokens.md) and [Images.md](Images.md). Made by
`make mutants`, which puts one small mistake at a time into the oracle (Fixtures/oracle): another constant,
another operator, operands or arguments the other way round, off by one, a term or a statement dropped, a
comparison at its edge. Each such *mutant* is asked the cases that run through its line, until one fails: of
image.py those of grid and pixels, of tokens.py, chat_request.py and openai_request.py those of tokens, of
oracle.py steps and `model/tiny` and `model/small`, of seeded.py these models and the values of Fixtures/seeded.

**{killed:,} of {made:,} mutants die.** Of the {survived} that survive, {equivalent} change no answer at all,
and for {holes} a case is lacking; all are listed at the end, with the reason, or the case that would see
them.

{files}

- *cases*: how many run through the lines that the oracle marks as the step's, suites of random questions
  left out; or, where the oracle leaves the step to a library, what asks it. *example*: the one that sees
  most of its mutants.
- *mutants*: killed / made, of those lines. A line may belong to several steps.
- What an input must be (`assert` in the oracle) has no mutants, and neither have taps on demand.
"""

# Where no line of the oracle is a step's: what asks it instead. A step, or all of a section.
ELSEWHERE = {
    "Model.md 1": "the parameters of every case of stage model",
    "Model.md 2": "every case of stage model: `load` takes the tensors by their names",
    "Model.md 3.6": "every case of stage model",
    "Model.md 4.2": "`image/rgb/*`: Pillow is the oracle",
    "Model.md 4.5": "every case of `tokens/request` with images",
    "Model.md 4.6": "`tokens/request/*`",
    "Model.md 4.7": "`tokens/fim/*`",
    "Model.md 4.8": "`tokens/request/*`",
    "Model.md 4.9": "none: a session has no question that a runtime has to refuse; tests of pixtral-ref have",
    "Model.md 7.1": "every case of stage model",
    "Model.md 7": "every case of stage model",
    "Model.md 8": "every case of stage model; none has taps on demand",
    "Model.md 9": "every case of stage model",
    "Tokens.md 1": "every case of stage tokens: Python reads the file",
    "Tokens.md 2": "`tokens/text/*`",
    "Tokens.md 3": "`tokens/decode/*`",
    "Tokens.md 4": "`tokens/request/*` whose requests or arguments are odd JSON: Python's `json` is the oracle",
    "Tokens.md 5": "`tokens/request/*`",
    "Tokens.md 6": "`tokens/request/*`",
    "Tokens.md 7": "`tokens/request/*` with tools",
    "Tokens.md 8": "`tokens/request/*` with patterns: Python's `re` is the oracle",
    "Tokens.md 9": "`tokens/request/*` with images",
    "Tokens.md 10": "`tokens/request/*`",
    "Tokens.md 11": "`tokens/truncation/*`",
    "Tokens.md 12": "`tokens/fim/*`",
    "Tokens.md 13": "`releases` of `tokens/request/*`",
    "Tokens.md 14": "`tokens/openai/*`",
}

IMAGES = {
    "What is read": ["image/rgb/png", "image/rgb/jpeg", "image/rgb/photos"],
    "What is refused": ["image/rgb/broken"],
    "The Hugging Face profile": [
        "image/grid/huggingface",
        "image/rgb/huggingface",
        "image/pixels/huggingface",
    ],
}


def page(found, marks, cases, document_steps, reason, suite_sizes):
    """The text. found: (file, mutant, the case that sees it or ""); marks: of each file the steps of its
    lines; cases: those that a file is asked; reason: (kind, why) of a survivor.
    """
    made, killed, killers = (
        collections.Counter(),
        collections.Counter(),
        collections.defaultdict(collections.Counter),
    )
    for file, mutant, how in found:
        for step in marks[file].get(mutant.line, []):
            made[step] += 1
            killed[step] += bool(how)
            if how not in ("", "stops", "hangs"):
                killers[step][how] += 1
    through = collections.defaultdict(set)
    for file, own in cases.items():
        for case in own:
            if case.in_corpus or case.id.startswith("Fixtures/"):
                continue
            for line in case.lines[file]:
                for step in marks[file].get(line, []):
                    through[step].add(case.id)

    survivors = [(file, mutant) for file, mutant, how in found if not how]
    reasons = [reason(file, mutant) for file, mutant in survivors]
    equivalent = sum(kind == "equivalent" for kind, _ in reasons)
    dead = len(found) - len(survivors)
    lines = [
        INTRODUCTION.format(
            killed=dead,
            made=len(found),
            survived=len(survivors),
            equivalent=equivalent,
            holes=len(survivors) - equivalent,
            files=by_file(found, survivors, reasons),
        )
    ]
    for document in ("Model.md", "Tokens.md"):
        lines += [f"## {document}", ""]
        for number, text in document_steps(document):
            name = f"{document} {number}"
            if "." not in number:
                lines += ["", f"### {number}. {text}", "", "| step | what | cases | example | mutants |",
                          "|---|---|---:|---|---:|"]  # fmt: skip
                # Marks of a whole section, and a section without steps.
                if not made[name] and any(
                    step.startswith(f"{number}.") for step, _ in document_steps(document)
                ):
                    continue
            ids = through.get(name, set())
            example = killers[name].most_common(1)[0][0] if killers[name] else min(ids, default="")
            asked = (
                f"{len(ids):,}"
                if ids
                else ELSEWHERE.get(name)
                or ELSEWHERE.get(name.split(".md ")[0] + ".md " + number.split(".")[0], "–")
            )
            score = f"{killed[name]} / {made[name]}" if made[name] else "–"
            what = cell(text) if "." in number else "the section"
            lines.append(f"| {number} | {what} | {asked} | {f'`{example}`' if example else ''} | {score} |")
        lines.append("")
    lines += ["## Images.md", "", "Pillow and transformers are the oracles here, so that there are no mutants.", "",
              "| section | cases |", "|---|---|"]  # fmt: skip
    for section, suites in IMAGES.items():
        lines.append(
            f"| {section} | {', '.join(f'`{suite}` ({suite_sizes[suite]:,})' for suite in suites)} |"
        )
    lines += ["", "## Survivors", ""]
    for kind, heading in (("hole", "A case is lacking"), ("equivalent", "No answer changes")):
        groups = collections.defaultdict(list)
        for (file, mutant), (of, why) in zip(survivors, reasons, strict=True):
            if of == kind:
                groups[why].append(
                    f"`{file}.py`, {mutant.function or 'top'}: `{mutant.before}` → `{mutant.after}`"
                )
        lines += [f"### {heading}", ""]
        for why, names in groups.items():
            lines += [f"- {why}", *(f"  - {name.replace('|', chr(92) + '|')}" for name in names)]
        lines.append("")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def by_file(found, survivors, reasons):
    made = collections.Counter(file for file, _, _ in found)
    alive = collections.Counter(file for file, _ in survivors)
    same = collections.Counter(
        file for (file, _), (kind, _) in zip(survivors, reasons, strict=True) if kind == "equivalent"
    )
    lines = ["| file | made | die | change no answer | die of the rest |", "|---|---:|---:|---:|---:|"]
    for file, count in made.items():
        dead = count - alive[file]
        lines.append(f"| {file}.py | {count} | {dead} | {same[file]} | {dead / (count - same[file]):.1%} |")
    return "\n".join(lines)


def cell(text):
    """The beginning of a step, in a cell of a table."""
    text = re.sub(r"[*`]", "", text).replace("|", "\\|")
    return text if len(text) <= 60 else text[:60].rsplit(" ", 1)[0] + " …"
