"""What the benches share: a server with data of its own, pushers, and whoever asks an app while something happens to it."""

import datetime, http.client, json, os, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
SAMPLES = os.path.join(ROOT, "contrib", "samples")
BINARY = os.environ.get("HYTHE_BENCH_BINARY") or os.path.join(ROOT, "target", "release", "hythe")


def run(*argv, **kw):
    kw.setdefault("check", True)
    kw.setdefault("stdout", subprocess.PIPE)
    kw.setdefault("stderr", subprocess.STDOUT)
    kw.setdefault("text", True)
    try:
        return subprocess.run([str(a) for a in argv], **kw)
    except subprocess.CalledProcessError as fault:
        sys.exit(f"{' '.join(map(str, argv))} failed:\n{fault.stdout}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(port, host, timeout=1):
    """Status and body of GET /, or (0, why)."""
    try:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        c.request("GET", "/", headers={"Host": host})
        r = c.getresponse()
        body = r.read().decode(errors="replace")
        c.close()
        return r.status, body
    except OSError as fault:
        return 0, str(fault)


def wait_for(what, check, seconds=600):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(0.05)


class Probe(threading.Thread):
    """Asks every 20 ms until stopped; remembers when `marker` was first answered."""

    def __init__(self, port, host, marker):
        super().__init__(daemon=True)
        self.port, self.host, self.marker = port, host, marker
        self.asked = self.failed = 0
        self.first = None
        self.over = threading.Event()

    def run(self):
        due = time.monotonic()
        while not self.over.is_set():
            status, body = ask(self.port, self.host)
            self.asked += 1
            self.failed += status != 200
            if self.first is None and status == 200 and self.marker in body:
                self.first = time.monotonic()
            due += 0.02
            self.over.wait(max(0.0, due - time.monotonic()))


class Finder(threading.Thread):
    """Asks as often as it can, to see the first answer of the new version without the probe's pause."""

    def __init__(self, port, host, marker):
        super().__init__(daemon=True)
        self.port, self.host, self.marker, self.first = port, host, marker, None
        self.over = threading.Event()

    def run(self):
        while self.first is None and not self.over.is_set():
            status, body = ask(self.port, self.host)
            if status == 200 and self.marker in body:
                self.first = time.monotonic()
            time.sleep(0.004)


class Work:
    """A clone with one file whose text tells the version."""

    def __init__(self, dir, sample, remote, ssh):
        shutil.copytree(os.path.join(SAMPLES, sample), dir)
        self.sample = sample
        self.start(dir, remote, ssh)

    def start(self, dir, remote, ssh):
        self.dir = dir
        self.env = {**os.environ, "GIT_SSH_COMMAND": ssh, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        for kind in ("AUTHOR", "COMMITTER"):
            self.env[f"GIT_{kind}_NAME"] = "bench"
            self.env[f"GIT_{kind}_EMAIL"] = "bench@example.com"
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "hythe", remote)

    def git(self, *words):
        return run("git", *words, cwd=self.dir, env=self.env)

    def change(self, marker):
        """One line of code that the answer shows."""
        name, old = {
            "hello-node": ("server.js", r"const greeting = .*"),
            "hello-static": ("index.html", r"<h1>.*</h1>"),
        }[self.sample]
        new = f"const greeting = '{marker}';" if self.sample == "hello-node" else f"<h1>{marker}</h1>"
        path = os.path.join(self.dir, name)
        text, count = re.subn(old, new, open(path).read())
        if count != 1:
            sys.exit(f"{path} has no line to change")
        with open(path, "w") as f:
            f.write(text)
        self.git("add", "-A")
        self.git("commit", "-qm", marker)

    def push(self):
        return self.git("push", "hythe", "main")


class Hythe:
    name = "hythe"

    def __init__(self, dir, settings=None):
        self.dir = dir
        self.ports = {k: free_port() for k in ("proxy", "api", "ssh")}
        self.binary = BINARY
        data = os.environ.get("HYTHE_BENCH_DATA") or os.path.join(dir, "data")
        self.env = {
            **os.environ,
            "HYTHE_DATA_DIR": data,
            # As in contrib/hythe.service.
            "MALLOC_ARENA_MAX": "2",
            "HYTHE_HTTP_PROXY_LISTEN": f"127.0.0.1:{self.ports['proxy']}",
            "HYTHE_HTTP_API_LISTEN": f"127.0.0.1:{self.ports['api']}",
            "HYTHE_GIT_LISTEN": f"127.0.0.1:{self.ports['ssh']}",
            "HYTHE_RUNTIME_PREFIX": f"bench{os.getpid()}",
            "XDG_CONFIG_HOME": os.path.join(dir, "config"),
            "HYTHE_URL": f"http://127.0.0.1:{self.ports['api']}",
            **(settings or {}),
        }
        self.prefix = self.env["HYTHE_RUNTIME_PREFIX"]
        self.data = data
        self.log = open(os.path.join(dir, "hythe.log"), "w")
        self.process = subprocess.Popen([self.binary, "serve"], env=self.env, stdout=self.log, stderr=self.log)
        token = os.path.join(data, "setup-token")
        wait_for("hythe", lambda: self.process.poll() is not None or os.path.exists(token), 60)
        if self.process.poll() is not None:
            sys.exit(open(self.log.name).read())
        self.key = os.path.join(dir, "key")
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key)
        run(self.binary, "setup", "--token", open(token).read().strip(), "--name", "bench", "--email",
            "bench@example.com", "--key", self.key + ".pub", env=self.env)
        self.ssh = f"ssh -i {self.key} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -F none"

    def app(self, sample, name=None):
        """A clone of the sample, pushed as `name`; the proxy's port; the host."""
        port, name = self.ports["ssh"], name or sample
        work = Work(os.path.join(self.dir, "h-" + name), sample, f"ssh://git@127.0.0.1:{port}/{name}.git", self.ssh)
        return work, self.ports["proxy"], f"{name}.localhost"

    def cli(self, *words):
        return run(self.binary, *words, env=self.env).stdout

    def cpu_seconds(self):
        """Of the server's process, user and system."""
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def steps(self, sample):
        """Milliseconds by step of the latest deployment."""
        config = os.path.join(self.env["XDG_CONFIG_HOME"], "hythe", "config.toml")
        token = next(l.split('"')[1] for l in open(config) if l.startswith("token"))
        c = http.client.HTTPConnection("127.0.0.1", self.ports["api"], timeout=5)
        base = f"/v1/apps/{sample}/environments/production/deployments"
        c.request("GET", base, headers={"Authorization": f"Bearer {token}"})
        items = json.loads(c.getresponse().read())
        items = items.get("items", items) if isinstance(items, dict) else items
        c.request("GET", f"{base}/{items[0]['id']}", headers={"Authorization": f"Bearer {token}"})
        steps = json.loads(c.getresponse().read())["steps"]
        return {s["name"]: millis(s["finished_at"]) - millis(s["started_at"]) for s in steps}

    def resident(self):
        for line in open(f"/proc/{self.process.pid}/smaps_rollup"):
            if line.startswith("Rss:"):
                return int(line.split()[1]) // 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        for kind in ("container", "network"):
            ids = run("docker", kind, "ls", *(["-a"] if kind == "container" else []), "-q", "--filter", f"label=hythe.prefix={self.prefix}").stdout.split()
            if ids:
                run("docker", kind, "rm", *(["-f", "-v"] if kind == "container" else []), *ids, check=False)
        images = run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
        mine = [i for i in images if i.startswith(self.prefix + "/")]
        if mine:
            run("docker", "image", "rm", "-f", *mine, check=False)


def millis(time_or_text):
    if isinstance(time_or_text, (int, float)):
        return time_or_text
    return datetime.datetime.fromisoformat(time_or_text.replace("Z", "+00:00")).timestamp() * 1000


def spread(values):
    return f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})"


def build():
    if not os.path.exists(BINARY):
        print("building the release binary")
        run("cargo", "build", "--release", "--locked", cwd=ROOT, stdout=None)
