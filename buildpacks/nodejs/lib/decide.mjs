// Decides how a Node.js app is built and started, and fetches the runtime and npm for it. Runs on the builder's own
// Node.js, only when one of its inputs changed. Writes <layers>/decisions/{values,launch.toml} and the layers node, npm
// and headers. A failure is a code with facts; the platform puts the words to it.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';

import * as registry from './registry.mjs';
import { Tampered, Unreachable, pins, place, platform } from './registry.mjs';

const require = createRequire('/usr/share/nodejs/');
const semver = require('semver');
const [layers, plan] = process.argv.slice(2);
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
  return { range: null, text: 'nothing asks for a version' };
}

async function chooseNode({ range }) {
  if (range === null || semver.satisfies(pins.node, range)) {
    return { version: pins.node, integrity: pins.integrity[`${platform}@${pins.node}`] };
  }
  const document = await registry.describe(platform);
  const versions = Object.keys(document.versions ?? {});
  const version = semver.maxSatisfying(versions, range);
  if (!version) {
    const majors = [...new Set(versions.map(semver.major))].sort((a, b) => a - b);
    fail('node_unknown', { range, available: majors.map((m) => semver.maxSatisfying(versions, `${m}.x`)).filter(Boolean).slice(-8).join(', ') });
  }
  return { version, integrity: document.versions[version].dist.integrity };
}

const layerText = (name) => (exists(`${layers}/${name}.toml`) ? fs.readFileSync(`${layers}/${name}.toml`, 'utf8') : '');

async function provideNode(wanted) {
  let chosen;
  try {
    chosen = await chooseNode(wanted);
    const held = exists(`${layers}/node/bin/node`) && layerText('node').includes(`"${chosen.version}"`);
    const needsHeaders = fs.readFileSync(plan, 'utf8').includes('"native-modules"');
    const prepared = `${registry.PREPARED}/node-${chosen.version}/bin/node`;
    if (needsHeaders && !exists(`${layers}/headers`) || !held && !exists(prepared)) {
      console.log(`-----> Fetching Node.js ${chosen.version}`);
      const at = await registry.fetchPackage(platform, chosen.version, chosen.integrity);
      fs.rmSync(`${layers}/node`, { recursive: true, force: true });
      place(`${at}/bin/node`, `${layers}/node/bin/node`);
      if (needsHeaders) place(`${at}/include`, `${layers}/headers/include`);
      registry.discard(at);
    } else if (!held) {
      fs.rmSync(`${layers}/node`, { recursive: true, force: true });
      fs.mkdirSync(`${layers}/node/bin`, { recursive: true });
      fs.copyFileSync(prepared, `${layers}/node/bin/node`);
    }
    return { version: chosen.version, source: 'registry', note: '-' };
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    const own = process.versions.node;
    if (wanted.range !== null && !semver.satisfies(own, wanted.range)) {
      fail('node_unreachable', { range: wanted.range, available: own, cause: error.message });
    }
    fs.rmSync(`${layers}/node`, { recursive: true, force: true });
    return { version: own, source: 'debian', note: `the npm registry does not answer (${error.message})` };
  }
}

// --- which package manager ------------------------------------------------------------------------------------------

// What `packageManager` of package.json says, else what the lock file is of.
function managerOf(manifest, lock) {
  const named = /^(npm|yarn|pnpm)@(\d+\.\d+\.\d+[^+]*)/.exec(manifest.packageManager ?? '');
  if (manifest.packageManager !== undefined && !named) {
    fail('version_syntax', { file: 'package.json', field: 'packageManager', text: JSON.stringify(manifest.packageManager) });
  }
  if (named && named[1] !== 'npm') return { name: named[1], range: named[2], file: lockOf(named[1]) };
  if (lock || named) return { name: 'npm' };
  if (exists('pnpm-lock.yaml')) {
    const format = /^lockfileVersion: *'?(\d+)/m.exec(fs.readFileSync('pnpm-lock.yaml', 'utf8'))?.[1];
    return { name: 'pnpm', range: { 5: '^7', 6: '^8' }[format] ?? '^10', file: 'pnpm-lock.yaml' };
  }
  if (exists('yarn.lock')) {
    const modern = fs.readFileSync('yarn.lock', 'utf8').includes('\n__metadata:');
    return { name: 'yarn', range: modern ? '^4' : '^1.22', file: 'yarn.lock' };
  }
  return { name: 'npm' };
}

function lockOf(name) {
  const file = name === 'yarn' ? 'yarn.lock' : 'pnpm-lock.yaml';
  return exists(file) ? file : undefined;
}

// Makes the layer `manager` with bin/yarn or bin/pnpm; gives its version.
async function provideManager({ name, range }) {
  // A release that is kept in the tree, as Yarn proposes it.
  const kept = name === 'yarn' && exists('.yarnrc.yml') && /^yarnPath: *["']?([\w./-]+)/m.exec(fs.readFileSync('.yarnrc.yml', 'utf8'))?.[1];
  let version = kept && exists(kept) ? `kept-${/(\d+\.\d+\.\d+)/.exec(kept)?.[1] ?? '4'}` : null;
  let described;
  const origin = name === 'yarn' && !semver.intersects(range, '1') ? '@yarnpkg/cli-dist' : name;
  try {
    if (!version) {
      described = await registry.describe(origin);
      version = semver.maxSatisfying(Object.keys(described.versions ?? {}), range);
      if (!version) fail('manager_unknown', { file: 'package.json', name, range });
    }
    if (layerText('manager').includes(`"${name} ${version}"`) && exists(`${layers}/manager/bin/${name}`)) return version;
    fs.rmSync(`${layers}/manager`, { recursive: true, force: true });
    fs.mkdirSync(`${layers}/manager/bin`, { recursive: true });
    let program = `/workspace/${kept}`;
    if (!version.startsWith('kept-')) {
      console.log(`-----> Fetching ${name} ${version}`);
      const at = await registry.fetchPackage(origin, version, described.versions[version].dist.integrity);
      place(at, `${layers}/manager/lib`);
      registry.discard(at);
      const names = name === 'yarn' ? ['bin/yarn.js'] : ['bin/pnpm.cjs', 'bin/pnpm.mjs'];
      program = names.map((file) => `${layers}/manager/lib/${file}`).find(exists);
    }
    fs.writeFileSync(`${layers}/manager/bin/${name}`, `#!/bin/sh\nexec node ${program} "$@"\n`, { mode: 0o755 });
    return version;
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    fail('npm_unreachable', { cause: error.message });
  }
}

async function provideNpm() {
  const held = `${layers}/npm/lib/package.json`;
  if (exists(held) && readJson(held).version === pins.npm) return;
  fs.rmSync(`${layers}/npm`, { recursive: true, force: true });
  try {
    await registry.provideNpm(`${layers}/npm`);
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

process.on('uncaughtException', (error) => {
  if (error instanceof Tampered) fail('integrity', error.facts);
  console.error(error);
  process.exit(1);
});

const manifest = readJson('package.json');
const scripts = manifest.scripts ?? {};
const count = (key) => Object.keys(manifest[key] ?? {}).length;
const production = count('dependencies') + count('optionalDependencies') + count('peerDependencies');
const development = count('devDependencies');
const hasBuild = Boolean(text(scripts.build, 'scripts.build'));
const lock = ['npm-shrinkwrap.json', 'package-lock.json'].find(exists);
const linked = Boolean(manifest.workspaces) || exists('pnpm-workspace.yaml') ||
  Object.values({ ...manifest.dependencies, ...manifest.devDependencies }).some((v) => /^(file|link):/.test(String(v)));
const assets = Boolean(process.env.HYTHE_ASSETS);
const command = assets ? null : startOf(scripts);
if (!command && !assets && !exists('Procfile')) fail('no_start', { file: 'package.json' });

const wanted = asked(manifest);
const node = await provideNode(wanted);
const dependencies = production > 0 || (development > 0 && hasBuild) || Boolean(manifest.workspaces) || exists('pnpm-workspace.yaml');
const vendored = !lock && !exists('yarn.lock') && !exists('pnpm-lock.yaml') && exists('node_modules') && !fs.lstatSync('node_modules').isSymbolicLink();
const runsScripts = hasBuild || /(^|[^\w.-])(np[mx]|yarn|pnpm)([^\w.-]|$)/.test((command ?? []).join(' ') + (exists('Procfile') ? fs.readFileSync('Procfile', 'utf8') : ''));
if ((dependencies && !vendored) || runsScripts) await provideNpm();

const manager = managerOf(manifest, lock);
const locked = manager.name === 'npm' ? lock : manager.file;
const managed = dependencies && !vendored && manager.name !== 'npm' ? await provideManager(manager) : pins.npm;
const modulesKey = createHash('sha256').update(JSON.stringify([
  node.version, manager.name, managed, locked ? fs.readFileSync(locked, 'utf8') : null,
  exists('.yarnrc.yml') ? fs.readFileSync('.yarnrc.yml', 'utf8') : null, exists('.npmrc') ? fs.readFileSync('.npmrc', 'utf8') : null,
  manifest.dependencies, manifest.optionalDependencies, manifest.peerDependencies, manifest.devDependencies, manifest.overrides,
])).digest('hex');
const values = {
  version: node.version,
  source: node.source,
  asked: wanted.text,
  note: node.note,
  manager: manager.name,
  manager_version: managed,
  npm_runs_on: semver.satisfies(node.version, '^18.17 || >=20.5') ? 'app' : 'builder',
  dependencies: dependencies ? 'yes' : 'no',
  development: development > 0 && hasBuild ? 'yes' : 'no',
  layered: linked || vendored ? 'no' : 'yes',
  how: vendored ? 'vendored' : locked ? 'ci' : 'install',
  dependency_file: locked ?? 'package.json',
  modules_key: modulesKey,
  scripts: ['preinstall', 'install', 'postinstall', 'prepare'].filter((name) => text(scripts[name], `scripts.${name}`)).join(' ') || '-',
  build: hasBuild ? 'yes' : 'no',
};
fs.writeFileSync(`${layers}/decisions/values`, Object.entries(values).map(([k, v]) => `${k} ${v}\n`).join(''));

let launch = '';
if (command) launch += `[[processes]]\ntype = "web"\ncommand = ${JSON.stringify(command)}\ndefault = true\n`;
if (node.source === 'debian') launch += '\n[[labels]]\nkey = "io.hythe.run-packages"\nvalue = "nodejs"\n';
fs.writeFileSync(`${layers}/decisions/launch.toml`, launch);
