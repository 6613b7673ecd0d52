import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot } from '../project-root.js';
import { configurationPage } from './configuration.js';

await writeFile(join(projectRoot, 'docs', 'configuration.md'), configurationPage());
