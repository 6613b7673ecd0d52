import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot } from '../project-root.js';
import { DASHBOARDS, toJson } from './dashboards.js';

const folder = join(projectRoot, 'docker/grafana/dashboards');
await mkdir(folder, { recursive: true });
for (const [name, dashboard] of Object.entries(DASHBOARDS)) await writeFile(join(folder, `${name}.json`), toJson(dashboard));
process.stdout.write(`${Object.keys(DASHBOARDS).length} dashboards written to ${folder}\n`);
