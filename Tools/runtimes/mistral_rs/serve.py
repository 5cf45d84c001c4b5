"""mistral.rs behind OpenAI's routes, for pixtral-ref conformance run --endpoint: /v1/models, /v1/chat/completions.

    PYTHON serve.py PORT GGUF

Its wheel has no server. This one hands requests to mistral.rs and its answers back, and does nothing else: messages,
tools, max_tokens, temperature, top_p, logprobs, top_logprobs.
"""

import http.server
import json
import sys

from mistralrs import ChatCompletionRequest
from session import open_runner

TAKEN = ("max_tokens", "temperature", "top_p", "logprobs", "top_logprobs")


def octets(value):
    return list(value.encode() if isinstance(value, str) else value) if value is not None else None


def completion(runner, request):
    tools = [json.dumps(tool) for tool in request.get("tools") or []] or None
    taken = {key: request[key] for key in TAKEN if request.get(key) is not None}
    answer = runner.send_chat_completion_request(
        ChatCompletionRequest(messages=request["messages"], model="default", tool_schemas=tools, **taken)
    )
    choices = []
    for choice in answer.choices:
        entry = {"index": choice.index, "finish_reason": choice.finish_reason}
        entry["message"] = {"role": choice.message.role, "content": choice.message.content}
        if choice.logprobs:
            entry["logprobs"] = {"content": [
                {"token": chosen.token, "logprob": chosen.logprob, "bytes": octets(chosen.bytes), "top_logprobs": [
                    {"token": str(other.token), "logprob": other.logprob, "bytes": octets(other.bytes)}
                    for other in chosen.top_logprobs
                ]} for chosen in choice.logprobs.content
            ]}  # fmt: skip
        choices.append(entry)
    usage = {
        key: getattr(answer.usage, key) for key in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    return {"id": answer.id, "object": "chat.completion", "created": answer.created, "model": "default",
            "choices": choices, "usage": usage}  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/v1/models":
            self.reply(
                200,
                {"object": "list", "data": [{"id": "default", "object": "model", "owned_by": "mistral.rs"}]},
            )
        else:
            self.reply(404, {"error": {"message": f"there is no {self.path}", "type": "not_found_error"}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/v1/chat/completions":
            return self.reply(
                404, {"error": {"message": f"there is no {self.path}", "type": "not_found_error"}}
            )
        try:
            self.reply(200, completion(self.server.runner, json.loads(body)))
        except Exception as error:  # of any kind: mistral.rs' own words
            self.reply(400, {"error": {"message": str(error), "type": type(error).__name__}})

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.runner = open_runner(sys.argv[2])
    print(f"mistral.rs listens on http://127.0.0.1:{sys.argv[1]}", file=sys.stderr, flush=True)
    server.serve_forever()
