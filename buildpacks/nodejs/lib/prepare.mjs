// Decides how a Node.js app is built and started, and fetches the runtime and npm for it. Runs on the builder's own
// Node.js, only when one of its inputs changed. Writes <layers>/decisions/{values,launch.toml} and the layers node, npm
// and headers. A failure is a code with facts; the platform puts the words to it.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire('/usr/share/nodejs/');
const semver = require('semver');
const [layers, plan] = process.argv.slice(2);
const pins = JSON.parse(fs.readFileSync(new URL('../versions.json', import.meta.url)));
const platform = `node-linux-${process.arch === 'arm64' ? 'arm64' : 'x64'}`;
const exists = (file) => fs.existsSync(file);

function fail(code, facts, evidence = []) {
  const clean = (text) => String(text).replace(/[\r\n]+/g, ' ');
  const lines = [code, ...Object.entries(facts).map(([k, v]) => `${k}=${clean(v)}`), ...evidence.map((l) => `| ${clean(l)}`)];
  fs.writeFileSync(process.env.HYTHE_FAILURE, lines.join('\n') + '\n');
  process.exit(1);
}

function readJson(file) {
  const text = fs.readFileSync(file, 'utf8').replace(/^\ufeff/, '');
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const said = /position (\d+)/.exec(error.message);
    const at = said ? Number(said[1]) : text.trimEnd().length;
    const before = text.slice(0, at).split('\n');
    const line = before.length;
    const cause = error.message.replace(/ in JSON at position \d+$/, '').replace(/ in JSON$/, '');
    const excerpt = text.split('\n').slice(Math.max(0, line - 2), line + 1).map((l, i) => `${Math.max(1, line - 1) + i}: ${l}`);
    fail('json_syntax', { file, line, column: before[line - 1].length + 1, cause }, excerpt);
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    fail('json_syntax', { file, line: 1, column: 1, cause: 'it is not an object ({ … })' });
  }
  return value;
}

// --- which Node.js --------------------------------------------------------------------------------------------------

function asked(manifest) {
  const engine = manifest.engines?.node;
  if (engine !== undefined) {
    if (typeof engine !== 'string' || semver.validRange(engine) === null) {
      fail('version_syntax', { file: 'package.json', field: 'engines.node', text: JSON.stringify(engine) });
    }
    return { range: engine, text: `engines.node "${engine}"` };
  }
  for (const file of ['.nvmrc', '.node-version']) {
    if (!exists(file)) continue;
    const text = fs.readFileSync(file, 'utf8').split('\n').map((l) => l.replace(/#.*/, '').trim()).find(Boolean) ?? '';
    const codename = /^lts\/(.+)$/.exec(text)?.[1].toLowerCase();
    let range = semver.validRange(text);
    if (text === 'node' || text === 'current' || text === 'latest' || text === 'stable') range = '*';
    if (codename === '*') range = `^${pins.node}`;
    else if (codename) range = pins.codenames[codename] ? `${pins.codenames[codename]}.x` : null;
    if (range === null) fail('version_syntax', { file, field: file, text: JSON.stringify(text) });
    return { range, text: `${file} "${text}"` };
  }
  return { range: null, text: 'the default, as nothing asks for a version' };
}

class Unreachable extends Error {}

function curl(...args) {
  try {
    const common = ['-fsSL', '--retry', '2', '--connect-timeout', '10', '--max-time', '600'];
    return execFileSync('curl', [...common, ...args], { maxBuffer: 64 << 20, stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    throw new Unreachable(String(error.stderr ?? error.message).trim().split('\n').pop());
  }
}

async function registry() {
  const named = process.env.NPM_CONFIG_REGISTRY || process.env.npm_config_registry;
  if (named) return named.replace(/\/+$/, '');
  const here = process.cwd();
  process.chdir('/'); // an .npmrc of the app is about its dependencies, not about the runtime
  const { default: registryUrl } = await import('/usr/share/nodejs/registry-url/index.js');
  process.chdir(here);
  return registryUrl().replace(/\/+$/, '');
}

// Unpacks the package, checked against its integrity, and gives the directory.
async function fetchPackage(name, version, integrity) {
  const base = await registry();
  const at = fs.mkdtempSync('/tmp/package-');
  const file = path.join(at, 'package.tgz');
  curl('-o', file, `${base}/${name}/-/${name}-${version}.tgz`);
  const [algorithm, expected] = integrity.split(/-(.*)/s);
  const found = createHash(algorithm).update(fs.readFileSync(file)).digest('base64');
  if (found !== expected) fail('integrity', { what: `${name}@${version}`, expected, found });
  execFileSync('tar', ['-xzf', file, '--no-same-owner', '-C', at]);
  fs.rmSync(file);
  return fs.readdirSync(at).map((entry) => path.join(at, entry))[0];
}

async function chooseNode({ range }) {
  if (range === null || semver.satisfies(pins.node, range)) {
    return { version: pins.node, integrity: pins.integrity[`${platform}@${pins.node}`] };
  }
  const base = await registry();
  const document = JSON.parse(curl('-H', 'accept: application/vnd.npm.install-v1+json', `${base}/${platform}`));
  const versions = Object.keys(document.versions ?? {});
  const version = semver.maxSatisfying(versions, range);
  if (!version) {
    const majors = [...new Set(versions.map(semver.major))].sort((a, b) => a - b);
    fail('node_unknown', { range, available: majors.map((m) => semver.maxSatisfying(versions, `${m}.x`)).filter(Boolean).slice(-8).join(', ') });
  }
  return { version, integrity: document.versions[version].dist.integrity };
}

function place(from, to) {
  fs.rmSync(to, { recursive: true, force: true });
  fs.mkdirSync(path.dirname(to), { recursive: true });
  execFileSync('mv', [from, to]);
}

const layerText = (name) => (exists(`${layers}/${name}.toml`) ? fs.readFileSync(`${layers}/${name}.toml`, 'utf8') : '');

async function provideNode(wanted) {
  let chosen;
  try {
    chosen = await chooseNode(wanted);
    const held = exists(`${layers}/node/bin/node`) && layerText('node').includes(`"${chosen.version}"`);
    const needsHeaders = fs.readFileSync(plan, 'utf8').includes('"native-modules"');
    if (!held || (needsHeaders && !exists(`${layers}/headers`))) {
      console.log(`-----> Fetching Node.js ${chosen.version}`);
      const at = await fetchPackage(platform, chosen.version, chosen.integrity);
      fs.rmSync(`${layers}/node`, { recursive: true, force: true });
      place(`${at}/bin/node`, `${layers}/node/bin/node`);
      if (needsHeaders) place(`${at}/include`, `${layers}/headers/include`);
      fs.rmSync(path.dirname(at), { recursive: true, force: true });
    }
    return { version: chosen.version, source: 'registry', note: '-' };
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    const own = process.versions.node;
    if (wanted.range !== null && !semver.satisfies(own, wanted.range)) {
      fail('node_unreachable', { range: wanted.range, available: own, cause: error.message });
    }
    fs.rmSync(`${layers}/node`, { recursive: true, force: true });
    return { version: own, source: 'debian', note: `the package registry does not answer (${error.message}): Debian's Node.js is used` };
  }
}

async function provideNpm() {
  const main = `${layers}/npm/lib/bin/npm-cli.js`;
  if (exists(main) && JSON.parse(fs.readFileSync(`${layers}/npm/lib/package.json`)).version === pins.npm) return;
  fs.rmSync(`${layers}/npm`, { recursive: true, force: true });
  try {
    const at = await fetchPackage('npm', pins.npm, pins.integrity[`npm@${pins.npm}`]);
    place(at, `${layers}/npm/lib`);
    fs.mkdirSync(`${layers}/npm/bin`, { recursive: true });
    for (const tool of ['npm', 'npx']) {
      fs.chmodSync(`${layers}/npm/lib/bin/${tool}-cli.js`, 0o755);
      fs.symlinkSync(`../lib/bin/${tool}-cli.js`, `${layers}/npm/bin/${tool}`);
    }
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    fail('npm_unreachable', { cause: error.message });
  }
}

// --- what to install, build and start -------------------------------------------------------------------------------

function text(value, name) {
  if (value !== undefined && typeof value !== 'string') fail('field_type', { file: 'package.json', field: name });
  return value?.trim() || undefined;
}

function startOf(scripts) {
  const start = text(scripts.start, 'scripts.start');
  const before = text(scripts.prestart, 'scripts.prestart');
  if (start) {
    // `node server.js` needs no shell between the engine's signals and the app.
    if (!before && /^node( +[\w@./:=+,-]+)+$/.test(start)) return start.split(/ +/);
    return ['bash', '-c', before ? `${before} && ${start}` : start];
  }
  return exists('server.js') ? ['node', 'server.js'] : null;
}

const manifest = readJson('package.json');
const scripts = manifest.scripts ?? {};
const count = (key) => Object.keys(manifest[key] ?? {}).length;
const production = count('dependencies') + count('optionalDependencies') + count('peerDependencies');
const development = count('devDependencies');
const hasBuild = Boolean(text(scripts.build, 'scripts.build'));
const lock = ['npm-shrinkwrap.json', 'package-lock.json'].find(exists);
const linked = Boolean(manifest.workspaces) ||
  Object.values({ ...manifest.dependencies, ...manifest.devDependencies }).some((v) => /^(file|link):/.test(String(v)));
const command = startOf(scripts);
if (!command && !exists('Procfile')) fail('no_start', { file: 'package.json' });

const wanted = asked(manifest);
const node = await provideNode(wanted);
const dependencies = production > 0 || (development > 0 && hasBuild) || Boolean(manifest.workspaces);
const vendored = !lock && exists('node_modules') && !fs.lstatSync('node_modules').isSymbolicLink();
const runsScripts = hasBuild || /(^|[^\w.-])np[mx]([^\w.-]|$)/.test((command ?? []).join(' ') + (exists('Procfile') ? fs.readFileSync('Procfile', 'utf8') : ''));
if ((dependencies && !vendored) || runsScripts) await provideNpm();

let note = node.note;
for (const [file, tool] of [['yarn.lock', 'Yarn'], ['pnpm-lock.yaml', 'pnpm']]) {
  if (dependencies && !lock && exists(file)) note = `${file} is not read: npm chooses the versions anew; add a package-lock.json to fix them, or remove ${tool}'s file`;
}
const modulesKey = createHash('sha256').update(JSON.stringify([
  node.version, pins.npm, lock ? fs.readFileSync(lock, 'utf8') : null, exists('.npmrc') ? fs.readFileSync('.npmrc', 'utf8') : null,
  manifest.dependencies, manifest.optionalDependencies, manifest.peerDependencies, manifest.devDependencies, manifest.overrides,
])).digest('hex');
const values = {
  version: node.version,
  source: node.source,
  asked: wanted.text,
  note,
  npm_runs_on: semver.satisfies(node.version, '^18.17 || >=20.5') ? 'app' : 'builder',
  dependencies: dependencies ? 'yes' : 'no',
  development: development > 0 && hasBuild ? 'yes' : 'no',
  layered: linked || vendored ? 'no' : 'yes',
  how: lock ? 'ci' : vendored ? 'vendored' : 'install',
  dependency_file: lock ?? 'package.json',
  modules_key: modulesKey,
  scripts: ['preinstall', 'install', 'postinstall', 'prepare'].filter((name) => text(scripts[name], `scripts.${name}`)).join(' ') || '-',
  build: hasBuild ? 'yes' : 'no',
};
fs.writeFileSync(`${layers}/decisions/values`, Object.entries(values).map(([k, v]) => `${k} ${v}\n`).join(''));

let launch = '';
if (command) launch += `[[processes]]\ntype = "web"\ncommand = ${JSON.stringify(command)}\ndefault = true\n`;
if (node.source === 'debian') launch += '\n[[labels]]\nkey = "io.hythe.run-packages"\nvalue = "nodejs"\n';
fs.writeFileSync(`${layers}/decisions/launch.toml`, launch);
