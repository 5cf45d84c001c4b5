"""mistral.rs as a runtime for the conformance kit: its tokens, as far as it tells them.

    pixtral-ref conformance run --stage tokens --runtime 'PYTHON session.py GGUF'

Texts are encoded and decoded by its own functions. Of a chat request mistral.rs tells the number of tokens and an
answer, no ids. Where a plain text has the same number of tokens and the same answer, its tokens are told: the text of
the GGUF file's template is tried, which is the name `mistral-v7`. Otherwise a request is unsupported.
"""

import json
import os
import sys
from pathlib import Path

from mistralrs import ChatCompletionRequest, CompletionRequest, Runner, Which

sys.path.append(str(Path(__file__).resolve().parent.parent))
from answering import serve  # noqa: E402

sys.path.pop()  # the folders there are no packages

WORDS = "mistral-v7"  # tokenizer.chat_template of the file
LENGTH = 8  # tokens of an answer: enough to tell prompts apart, for each token depends on the whole prompt


def open_runner(path):
    path = Path(path).resolve()
    return Runner(which=Which.GGUF(quantized_model_id=str(path.parent), quantized_filename=path.name))


def said(answer):
    """Number of tokens of the prompt, and the answer's text; a chat's begins without its space."""
    choice = answer.choices[0]
    text = choice.message.content if hasattr(choice, "message") else choice.text
    return answer.usage.prompt_tokens, text.removeprefix(" ")


def main():
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # mistral.rs writes its log to standard output
    runner = open_runner(sys.argv[1])
    greedy = {"model": "default", "max_tokens": LENGTH, "temperature": 0.0}
    words = said(runner.send_completion_request(CompletionRequest(prompt=WORDS, **greedy)))
    ids = runner.tokenize_text(WORDS, add_special_tokens=True, enable_thinking=None)

    def hello(question):
        return {"name": "mistral.rs", "version": "0.9.5", "arithmetic": "float32",
                "features": ["tokens", "tokens.openai"]}  # fmt: skip

    def render(question):
        request = question["request"]
        for message in request["messages"]:
            for part in message["content"] if isinstance(message.get("content"), list) else []:
                if part.get("type") != "text":
                    return {"unsupported": "mistral.rs loads no vision part of Pixtral"}
        tools = [json.dumps(tool) for tool in request.get("tools") or []] or None
        chat = ChatCompletionRequest(messages=request["messages"], tool_schemas=tools, **greedy)
        found = said(runner.send_chat_completion_request(chat))
        if found == words and found[0] == len(ids):
            return {"tokens": ids}
        return {"unsupported": f"mistral.rs tells that there are {found[0]} tokens, not which"}

    def encode(question):
        return {
            "tokens": runner.tokenize_text(question["text"], add_special_tokens=False, enable_thinking=None)
        }

    def decode(question):
        return {"text": runner.detokenize_text(question["tokens"], skip_special_tokens=False)}

    operations = {f.__name__: f for f in (hello, render, encode, decode)}
    serve(operations, answers)


if __name__ == "__main__":
    main()
