// Packages of the npm registry: described, fetched, checked, unpacked. Uses the registry that npm itself would use.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

export const pins = JSON.parse(fs.readFileSync(new URL('../versions.json', import.meta.url)));
export const platform = `node-linux-${process.arch === 'arm64' ? 'arm64' : 'x64'}`;
// Where bin/prepare has put the default versions, once for all apps.
export const PREPARED = '/opt/hythe/nodejs';

export class Tampered extends Error {
  constructor(facts) {
    super(`${facts.what} is not what was published`);
    this.facts = facts;
  }
}

export class Unreachable extends Error {}

function curl(...args) {
  try {
    const common = ['-fsSL', '--retry', '2', '--connect-timeout', '10', '--max-time', '600'];
    return execFileSync('curl', [...common, ...args], { maxBuffer: 64 << 20, stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    throw new Unreachable(String(error.stderr ?? error.message).trim().split('\n').pop());
  }
}

async function base() {
  const named = process.env.NPM_CONFIG_REGISTRY || process.env.npm_config_registry;
  if (named) return named.replace(/\/+$/, '');
  const here = process.cwd();
  process.chdir('/'); // an .npmrc of the app is about its dependencies, not about the runtime
  const { default: registryUrl } = await import('/usr/share/nodejs/registry-url/index.js');
  process.chdir(here);
  return registryUrl().replace(/\/+$/, '');
}

// Unpacks the package, checked against its integrity, and gives the directory.
export async function fetchPackage(name, version, integrity) {
  const at = fs.mkdtempSync('/tmp/package-');
  const file = path.join(at, 'package.tgz');
  curl('-o', file, `${await base()}/${name}/-/${name.split('/').pop()}-${version}.tgz`);
  const [algorithm, expected] = integrity.split(/-(.*)/s);
  const found = createHash(algorithm).update(fs.readFileSync(file)).digest('base64');
  if (found !== expected) throw new Tampered({ what: `${name}@${version}`, expected, found });
  execFileSync('tar', ['-xzf', file, '--no-same-owner', '-C', at]);
  fs.rmSync(file);
  return fs.readdirSync(at).map((entry) => path.join(at, entry))[0];
}

export async function describe(name) {
  return JSON.parse(curl('-H', 'accept: application/vnd.npm.install-v1+json', `${await base()}/${name}`));
}

// Removes what is left of a fetched package.
export function discard(at) {
  fs.rmSync(path.dirname(at), { recursive: true, force: true });
}

export function place(from, to) {
  fs.rmSync(to, { recursive: true, force: true });
  fs.mkdirSync(path.dirname(to), { recursive: true });
  execFileSync('mv', [from, to]);
}

// Makes `to` a directory with bin/npm, bin/npx and lib.
export async function provideNpm(to) {
  const prepared = `${PREPARED}/npm-${pins.npm}`;
  if (to !== prepared && fs.existsSync(prepared)) {
    execFileSync('cp', ['-R', prepared, to]);
    return;
  }
  const at = await fetchPackage('npm', pins.npm, pins.integrity[`npm@${pins.npm}`]);
  place(at, `${to}/lib`);
  discard(at);
  fs.mkdirSync(`${to}/bin`, { recursive: true });
  for (const tool of ['npm', 'npx']) {
    fs.chmodSync(`${to}/lib/bin/${tool}-cli.js`, 0o755);
    fs.symlinkSync(`../lib/bin/${tool}-cli.js`, `${to}/bin/${tool}`);
  }
}
