import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as echarts from 'echarts';
import { dataSourceOptions, openDataSource } from '../../apps/central-api/src/database/database.module.js';
import { fillCentralAudit } from '../audit/fill-central-audit.js';
import { startEmbeddedPostgres } from '../embedded-postgres.js';
import { findHome } from '../postgres/home.js';
import { findDatabaseUser } from '../postgres/run-as.js';
import { projectRoot } from '../project-root.js';
import { withClient } from '../with-client.js';
import { allPanels, DASHBOARDS, expandSql } from './dashboards.js';
import type pg from 'pg';

type Row = Record<string, unknown>;

const DAY_MS = 86_400_000;
const DEVICE = '02:00:00:00:00:02';
const TOP = 24;

/** What is drawn: a panel of a dashboard, and how its rows become a chart. */
interface Picture {
  file: string;
  panel: [dashboard: string, title: string];
  height?: number;
  chart: (rows: Row[]) => echarts.EChartsCoreOption;
}

const PICTURES: Picture[] = [
  {
    file: 'fleet-verified-age',
    panel: ['fleet', 'Age of the last verified state of every device'],
    height: 460,
    chart: (rows) => {
      const shown = rows.slice(0, TOP).toReversed();
      const hours = (row: Row): number | null => (row['verified_age'] === null ? null : Number(row['verified_age']) / 3600);
      // In minutes: on a logarithmic axis bars begin at 1.
      const value = (row: Row): number | null => (hours(row) === null ? null : Math.max(1, (hours(row) as number) * 60));
      return {
        xAxis: { type: 'log', name: 'minutes', min: 1, axisLabel: { formatter: String } },
        yAxis: {
          type: 'category',
          axisLabel: { interval: 0 },
          data: shown.map((row) => `${String(row['mac'])}${row['verified_age'] === null ? ' (never)' : ''}`),
        },
        series: [{ type: 'bar', data: shown.map((row) => ({ value: value(row), itemStyle: { color: ageColor(hours(row) ?? 0) } })) }],
      };
    },
  },
  { file: 'fleet-requests', panel: ['fleet', 'Requests by hour'], chart: (rows) => overTime(rows, 'requests', 'bar') },
  { file: 'fleet-success-rates', panel: ['fleet', 'Success rates'], chart: (rows) => lines(rows, ['requests', 'syncs']) },
  {
    file: 'fleet-failures',
    panel: ['fleet', 'Failures by reason'],
    chart: (rows) => bars(rows, (row) => `${String(row['source'])}: ${String(row['reason'])}`, 'failures'),
  },
  { file: 'fleet-slowest', panel: ['fleet', 'Slowest devices'], chart: (rows) => bars(rows, (row) => String(row['mac']), 'p95_ms') },
  { file: 'device-rows', panel: ['device', 'Rows by table'], chart: (rows) => overTime(rows, 'row_count', 'line') },
  { file: 'device-durations', panel: ['device', 'Duration of its syncs'], chart: (rows) => overTime(rows, 'duration_ms', 'line') },
];

function ageColor(hours: number): string {
  if (hours >= 24) return '#e02f44';
  if (hours >= 6) return '#ff780a';
  return hours >= 1 ? '#f2cc0c' : '#56a64b';
}

function overTime(rows: Row[], value: string, type: 'bar' | 'line'): echarts.EChartsCoreOption {
  const names = [...new Set(rows.map((row) => String(row['metric'])))];
  const series = names.map((name) => ({
    name,
    type,
    symbol: 'none',
    step: type === 'line' ? 'end' : undefined,
    ...(type === 'bar' ? { stack: 'all' } : {}),
    data: rows.filter((row) => row['metric'] === name).map((row) => [Number(row['time']), Number(row[value])]),
  }));
  return { legend: { bottom: 0 }, xAxis: { type: 'time' }, yAxis: { type: value === 'row_count' ? 'log' : 'value', name: value }, series };
}

function lines(rows: Row[], names: string[]): echarts.EChartsCoreOption {
  const series = names.map((name) => ({
    name,
    type: 'line',
    symbol: 'none',
    data: rows.map((row) => [Number(row['time']), Number(row[name])]),
  }));
  return { legend: { bottom: 0 }, xAxis: { type: 'time' }, yAxis: { type: 'value', min: 0.9, max: 1 }, series };
}

function bars(rows: Row[], label: (row: Row) => string, value: string): echarts.EChartsCoreOption {
  const shown = rows.slice(0, 12).toReversed();
  return {
    xAxis: { type: 'value', name: value },
    yAxis: { type: 'category', axisLabel: { interval: 0 }, data: shown.map(label) },
    series: [{ type: 'bar', data: shown.map((row) => Number(row[value])) }],
  };
}

async function draw(client: pg.Client, { file, panel: [dashboard, title], height = 300, chart }: Picture, folder: string): Promise<void> {
  const target = allPanels(DASHBOARDS[dashboard]!).find((panel) => panel.title === title)?.targets[0];
  if (!target || !('rawSql' in target)) throw new Error(`${dashboard} has no panel "${title}" with SQL`);
  const to = new Date();
  const { rows } = await client.query<Row>(
    expandSql(target.rawSql, { from: new Date(to.getTime() - 3 * DAY_MS).toISOString(), to: to.toISOString(), device: DEVICE }),
  );
  const picture = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 900, height });
  picture.setOption({
    animation: false,
    title: { text: title, left: 'center' },
    backgroundColor: '#ffffff',
    grid: { containLabel: true, left: 20, right: 90, top: 50, bottom: 40 },
    ...chart(rows),
  });
  const svg = picture.renderToSVGString();
  picture.dispose();
  await writeFile(join(folder, `${file}.svg`), svg);
  process.stdout.write(`${file}.svg: ${rows.length} rows, ${(svg.length / 1000).toFixed(0)} KB\n`);
}

/** Draws what panels show, from their own statements, on a filled audit: docs/pictures. */
const folder = join(projectRoot, 'docs/pictures');
await mkdir(folder, { recursive: true });
const home = await findHome(join(projectRoot, 'var'), await findDatabaseUser());
await using server = await startEmbeddedPostgres({ folder: join(home.folder, 'pictures'), settings: { fsync: 'off' } });
await withClient(server.url, async (client) => {
  await client.query('DROP DATABASE IF EXISTS pictures');
  await client.query('CREATE DATABASE pictures');
});
const url = new URL('/pictures', server.url).href;
await (await openDataSource(dataSourceOptions(url))).destroy();
await withClient(url, async (client) => {
  await fillCentralAudit(client, { devices: 40, days: 4, requests: 40_000, manifestsPerDeviceAndDay: 6 });
  for (const picture of PICTURES) await draw(client, picture, folder);
});
