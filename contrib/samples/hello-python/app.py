import os
import signal
import sys

from bottle import Bottle

app = Bottle()


@app.route("/")
def hello():
    return "Hello from Hythe, by Python\n"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app.run(host="0.0.0.0", port=int(os.environ["PORT"]))
