"""python3 -m parley.pretend: a provider that repeats what it hears. For trying things; see README.md."""

import json
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORD_S = 0.1


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        conversation = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps(conversation, indent=1), flush=True)
        self.send_response(200)
        self.end_headers()
        last = conversation["messages"][-1]
        asked = re.fullmatch(r"multiply (\d+) by (\d+)", last.get("text", ""))
        if last["role"] == "user" and asked:
            numbers = {"a": int(asked[1]), "b": int(asked[2])}
            self.say({"call": {"id": "call-1", "name": "multiply", "arguments": numbers}})
        else:
            for word in last["text"].split():
                self.say({"text": word + " "})
                time.sleep(WORD_S)
        if last["text"] != "fail":
            self.say({"end": True})

    def say(self, piece):
        self.wfile.write(json.dumps(piece).encode() + b"\n")
        self.wfile.flush()

    def log_message(self, *about):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"PARLEY_URL=http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
