// npm run --silent sbom: a CycloneDX bill of materials of what the images hold, from package-lock.json, to stdout.
// `npm sbom --omit=dev` also leaves out what a development dependency uses too, such as pg (npm 11): so npm lists everything, and the lock
// file says what is installed without development and optional packages.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const MAX_OUTPUT_BYTES = 64 << 20;

const npm = ['sbom', '--sbom-format=cyclonedx', '--package-lock-only'];
const sbom = JSON.parse(execFileSync('npm', npm, { cwd: root, maxBuffer: MAX_OUTPUT_BYTES, stdio: ['ignore', 'pipe', 'inherit'] }));
const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));

const self = sbom.metadata.component['bom-ref'];
const shipped = new Set([self]);
for (const [path, { name, version, dev, optional, devOptional }] of Object.entries(packages)) {
  if (path !== '' && !dev && !optional && !devOptional) shipped.add(`${name ?? path.replace(/^.*node_modules\//, '')}@${version}`);
}
// npm's bom-ref is name@version.
sbom.components = sbom.components.filter((component) => shipped.has(component['bom-ref']));
sbom.dependencies = sbom.dependencies
  .filter(({ ref }) => shipped.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => shipped.has(other)) }));
console.log(JSON.stringify(sbom, null, 2));
