import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { dataSourceOptions, openDataSource } from '../../apps/central-api/src/database/database.module.js';
import { startCentral } from '../../apps/central-api/testing/central.js';
import { SHOP_PLAN, SHOP_SCHEMA } from '../../apps/central-api/testing/shop.js';
import { runSql } from '../../apps/central-api/testing/sql.js';
import { Edge } from '../../apps/edge-service/testing/edge.js';
import { startTestServer, type TestServer } from '../../test/support/postgres.js';
import { temporaryFolder } from '../../test/support/temporary-folder.js';
import { fillCentralAudit } from '../audit/fill-central-audit.js';
import { fillEdgeAudit } from '../audit/fill-edge-audit.js';
import { projectRoot } from '../project-root.js';
import { withClient } from '../with-client.js';
import { allPanels, DASHBOARDS, expandSql, toJson } from './dashboards.js';
import { EDGE_DATABASE, type Panel } from './grafana.js';

const NAMES = Object.keys(DASHBOARDS);
const PANELS = Object.entries(DASHBOARDS).flatMap(([name, dashboard]) =>
  allPanels(dashboard).map((panel) => [`${name}: ${panel.title}`, panel] as [string, Panel]),
);
const SQL_PANELS = PANELS.flatMap(([title, panel]) =>
  panel.targets.flatMap((target) => ('rawSql' in target ? [[title, panel, target.rawSql, target.format] as const] : [])),
);
const EXPRESSIONS = PANELS.flatMap(([title, { targets }]) =>
  targets.flatMap((target) => ('expr' in target ? [[title, target.expr] as [string, string]] : [])),
);
const DEVICE = '02:00:00:00:00:02';

let server: TestServer;
let urls: { central: string; edge: string };
let metrics: Set<string>;

beforeAll(async () => {
  server = await startTestServer();
  const [shop, mirror] = [await server.createDatabase('central'), await server.createDatabase('edge')];
  urls = { central: shop.url, edge: mirror.url };
  await runSql(shop.url, SHOP_SCHEMA);
  await (await openDataSource(dataSourceOptions(shop.url))).destroy();
  await withClient(shop.url, (client) => fillCentralAudit(client, { devices: 24, days: 8, requests: 20_000, manifestsPerDeviceAndDay: 4 }));
  await using central = await startCentral({ databaseUrl: shop.url, plan: SHOP_PLAN });
  await using edge = await Edge.start({ databaseUrl: mirror.url, centralUrl: central.url });
  await edge.sync();
  await withClient(mirror.url, (client) => fillEdgeAudit(client, { days: 3 }));
  const texts = await Promise.all([central.url, edge.url].map(async (url) => (await fetch(`${url}/metrics`)).text()));
  metrics = new Set([...texts.join('\n').matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name as string));
});

afterAll(() => server?.[Symbol.asyncDispose]());

test.each(NAMES)('the file of %s is what its source says: after a change run `npm run dashboards`', async (name) => {
  expect(await readFile(join(projectRoot, `docker/grafana/dashboards/${name}.json`), 'utf8')).toBe(toJson(DASHBOARDS[name]!));
});

test.each(NAMES)('%s keeps to the schema of Grafana 11 and 12', (name) => {
  const dashboard = DASHBOARDS[name]!;
  expect(dashboard).toMatchObject({
    uid: `waypost-${name}`,
    schemaVersion: 39,
    tags: ['waypost'],
    links: [{ type: 'dashboards', tags: ['waypost'] }],
  });
  const panels = [...dashboard.panels, ...allPanels(dashboard)];
  const ids = new Set(panels.map(({ id }) => id));
  expect(ids.size).toBe(new Set(panels).size);
  const taken = new Set<string>();
  for (const { gridPos, type, description } of dashboard.panels) {
    expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
    if (type !== 'row') expect(description.length).toBeGreaterThan(5);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1)
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
        expect(taken).not.toContain(`${x},${y}`);
        taken.add(`${x},${y}`);
      }
  }
});

test('the first panel of the fleet is the age of the last verified state of every device', () => {
  expect(DASHBOARDS['fleet']!.panels[0]).toMatchObject({
    title: expect.stringContaining('last verified state of every device'),
    gridPos: { x: 0, y: 0 },
  });
});

test('panels use the data sources that are provisioned', async () => {
  const text = await readFile(join(projectRoot, 'docker/grafana/provisioning/datasources/waypost.yml'), 'utf8');
  const provisioned = (parse(text) as { datasources: { uid: string; type: string }[] }).datasources.map(
    ({ uid, type }) => `${type} ${uid}`,
  );
  for (const [, { datasource }] of PANELS) {
    expect([...provisioned, `${EDGE_DATABASE.type} ${EDGE_DATABASE.uid}`]).toContain(`${datasource.type} ${datasource.uid}`);
  }
});

test('runbooks that panels name are there', () => {
  const named = new Set(PANELS.flatMap(([, { description }]) => /Runbook: (\S+)$/.exec(description)?.[1] ?? []));
  expect(named.size).toBeGreaterThan(3);
  expect([...named].filter((path) => !existsSync(join(projectRoot, path)))).toEqual([]);
});

test.each(SQL_PANELS)('%s has rows to show', async (_, panel, rawSql, format) => {
  const url = panel.datasource.uid === EDGE_DATABASE.uid ? urls.edge : urls.central;
  const [from, to] = [new Date(Date.now() - 7 * 86_400_000).toISOString(), new Date().toISOString()];
  const sql = expandSql(rawSql, { from, to, device: DEVICE, hours: 1 });
  expect(sql).not.toContain('$');
  const rows = await runSql<{ time?: Date }>(url, sql);
  expect(rows.length).toBeGreaterThan(0);
  if (format === 'table') return;
  const times = rows.map(({ time }) => Number(time));
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  expect(times.every((time) => time > 0)).toBe(true);
});

test.each(EXPRESSIONS)('%s asks for metrics that the services export', (_, expr) => {
  const names = expr.match(/\b(waypost|nodejs|process)_[a-z0-9_]+/g) ?? [];
  const known = (name: string): boolean => metrics.has(name) || metrics.has(name.replace(/_(bucket|sum|count)$/, ''));
  if (expr !== 'sum(up{job="central"})') expect(names).not.toEqual([]);
  expect(names.filter((name) => !known(name))).toEqual([]);
});

const hasPromtool = spawnSync('promtool', ['--version']).status === 0;
const withPromtool = hasPromtool || process.env['REQUIRE_PROMTOOL'] === '1' ? test : test.skip;
withPromtool('every PromQL expression is valid (skipped where promtool is not installed: Debian’s package prometheus has it)', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'expressions.yml');
  const rules = EXPRESSIONS.map(([, expr], at) => ({
    record: `check:${at}`,
    expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.+'),
  }));
  await writeFile(file, JSON.stringify({ groups: [{ name: 'dashboards', rules }] }));
  const output = execFileSync('promtool', ['check', 'rules', file], { encoding: 'utf8' });
  expect(output).toContain(`${EXPRESSIONS.length} rules found`);
});
