#!/usr/bin/env node
// `waypost <command>`: finds what of Waypost is built here and lets it answer. Everything else is in libs/command-line and in the
// cli/ folder of each service. This file must start on any Node, to say which one is needed.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';

const NODE = 24;
const root = new URL('../', import.meta.url);

if (Number(process.versions.node.split('.')[0]) >= NODE) await run();
else runOnOwnNode();

async function run() {
  module.enableCompileCache();
  // A service's own build holds its libraries too.
  const built = Object.entries({ central: 'central-api', edge: 'edge-service' })
    .map(([side, app]) => ({ side, app, folder: new URL(`dist/${app}/`, root) }))
    .filter(({ app, folder }) => existsSync(new URL(`apps/${app}/src/cli/commands.js`, folder)));
  if (built.length === 0) return giveUp('Nothing is built here. Run: npm run build');
  const { runCommandLine } = await import(new URL('libs/command-line/src/index.js', built[0].folder).href);
  const { version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));
  const load = ({ app, folder }) => import(new URL(`apps/${app}/src/cli/commands.js`, folder).href);
  const sides = Object.fromEntries(built.map((app) => [app.side, () => load(app)]));
  process.exitCode = await runCommandLine(process.argv.slice(2), { version, sides });
}

/** npm ci brings a Node of its own; `npx waypost` and a plain shell do not start it. */
function runOnOwnNode() {
  const node = fileURLToPath(new URL(`node_modules/node-${process.platform}-${process.arch}/bin/node`, root));
  if (!existsSync(node)) return giveUp(`waypost needs Node ${NODE} or newer; this is ${process.version}.`);
  const { status } = spawnSync(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  process.exitCode = status ?? 3;
}

function giveUp(message) {
  console.error(message);
  process.exitCode = 3;
}
