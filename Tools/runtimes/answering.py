"""The loop of a session, for the adapters in the folders beside (Docs/Conformance.md, a session).

    sys.path.append(str(Path(__file__).resolve().parent.parent))
    from answering import serve  # noqa: E402
    sys.path.pop()  # the folders there are no packages, and some libraries would take them for such

torch_session.py and minimal_session.py have a loop of their own: they are there to be copied alone.
"""

import json
import sys
import traceback


class Unsupported(Exception):
    """The runtime does not do this: the words are the answer."""


def serve(operations, answers):
    """Answers the kit's questions until there are no more.

    - operations: {op: function of a question}. What a function raises is a refusal, in the runtime's own words.
    - answers: a file to which nothing else is written.
    """
    for line in sys.stdin.buffer:
        question = json.loads(line)
        try:
            if question["op"] not in operations:
                raise Unsupported(f"the operation {question['op']}")
            answer = operations[question["op"]](question)
        except Unsupported as why:
            answer = {"unsupported": str(why)}
        except Exception as error:  # of any kind: whatever the runtime raises
            traceback.print_exc()
            message = str(error).encode(errors="replace").decode()  # half a surrogate pair is no JSON
            answer = {"reject": {"type": type(error).__name__, "message": message[:2000]}}
        print(json.dumps({"id": question.get("id")} | answer), file=answers, flush=True)
