import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { documentedMetrics } from './support/documented-metrics.js';
import { promtool, testWithPromtool } from './support/promtool.js';
import { temporaryFolder } from './support/temporary-folder.js';

/** The alarms of docker/prometheus, their unit tests and their pages in docs/runbooks belong together. */

interface Rule {
  alert: string;
  expr: string;
  for: string;
  labels: { severity: string; seen_by: string };
  annotations: Record<string, string>;
}

interface UnitTest {
  alert_rule_test: { alertname: string; exp_alerts: { exp_labels: Record<string, string> }[] }[];
}

const ROOT = join(import.meta.dirname, '..');
const RULES = join(ROOT, 'docker/prometheus/rules/waypost.yml');
const TESTS = join(ROOT, 'docker/prometheus/tests');
/** What the operator set, or a path in this repository. */
const RUNBOOK_BASE = '{{ or $externalLabels.runbook_base "docs/runbooks" }}';
const SECTIONS = ['## What it means', '## What to look at', '## What to do'];

const read = (path: string): Promise<string> => readFile(join(ROOT, path), 'utf8');
const { groups } = parse(await readFile(RULES, 'utf8')) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);
const testFiles = (await readdir(TESTS)).map((file) => join(TESTS, file));
const unitTests = (await Promise.all(testFiles.map(async (file) => parse(await readFile(file, 'utf8')) as { tests: UnitTest[] })))
  .flatMap(({ tests }) => tests)
  .flatMap((one) => one.alert_rule_test);

/** Histograms have series of other names than their own. */
async function exportedNames(): Promise<Set<string>> {
  const metrics = [...(await documentedMetrics())];
  return new Set(
    metrics.flatMap(([name, { type }]) => (type === 'histogram' ? ['_bucket', '_count', '_sum'].map((end) => name + end) : [name])),
  );
}

const namesIn = (text: string): string[] => text.match(/\bwaypost_(?:edge|central)_\w+/g) ?? [];

describe.each(rules.map((rule) => [`${rule.alert}, seen by ${rule.labels.seen_by}`, rule] as const))('%s', (_title, rule) => {
  const file = `${rule.alert.replace(/(?<!^)[A-Z]/g, (letter) => `-${letter}`).toLowerCase()}.md`;
  const page = `docs/runbooks/${file}`;

  test('says how urgent it is, waits before it fires, and tells what and where to read on', () => {
    expect(rule.labels.severity).toMatch(/^(page|ticket)$/);
    expect(rule.for).toMatch(/^\d+[mh]$/);
    expect(rule.annotations).toEqual({
      summary: expect.any(String),
      description: expect.any(String),
      runbook_url: `${RUNBOOK_BASE}/${file}`,
    });
  });

  test('rests on metrics that the services export', async () => {
    const exported = await exportedNames();
    expect(namesIn(rule.expr).filter((name) => !exported.has(name))).toEqual([]);
  });

  test('has a unit test in which it fires and one in which it does not', () => {
    const mine = unitTests.filter(({ alertname }) => alertname === rule.alert);
    const firing = mine.flatMap(({ exp_alerts }) => exp_alerts).filter(({ exp_labels }) => exp_labels['seen_by'] === rule.labels.seen_by);
    expect(firing.length).toBeGreaterThan(0);
    expect(mine.filter(({ exp_alerts }) => exp_alerts.length === 0).length).toBeGreaterThan(0);
  });

  test('has a runbook and a line in docs/observability.md', async () => {
    const text = await read(page);
    const [title, ...parts] = text.split(/^## .*$/m);
    expect(title).toBe(`# ${rule.alert}\n\n`);
    expect(text.match(/^## .*$/gm)).toEqual(SECTIONS);
    for (const part of parts) expect(part.trim().length).toBeGreaterThan(100);
    expect(parts[1]).toMatch(/^```/m);
    const line = `| [${rule.alert}](${page.replace('docs/', '')}) | ${rule.labels.severity} |`;
    expect(await read('docs/observability.md')).toContain(line);
  });
});

test('runbooks speak of metrics that exist, and there are none without an alarm', async () => {
  const exported = await exportedNames();
  const files = await readdir(join(ROOT, 'docs/runbooks'));
  expect(files.map((file) => `${RUNBOOK_BASE}/${file}`).sort()).toEqual(
    [...new Set(rules.map(({ annotations }) => annotations['runbook_url']))].sort(),
  );
  for (const file of files) {
    const unknown = namesIn(await read(`docs/runbooks/${file}`)).filter((name) => !exported.has(name));
    expect({ file, unknown: unknown.filter((name) => !name.endsWith('_')) }).toEqual({ file, unknown: [] });
  }
});

testWithPromtool('the rules are right, and do what their unit tests say', async () => {
  await promtool(['check', 'rules', '--lint=all', '--lint-fatal', RULES]);
  const output = await promtool(['test', 'rules', ...testFiles]);
  expect(output.match(/SUCCESS/g)).toHaveLength(testFiles.length);
});

testWithPromtool('the queries of the runbooks are PromQL', async () => {
  await using folder = await temporaryFolder();
  const queries: string[] = [];
  for (const file of await readdir(join(ROOT, 'docs/runbooks'))) {
    const page = await read(`docs/runbooks/${file}`);
    for (const [, block] of page.matchAll(/^```promql\n(.*?)^```$/gms)) queries.push(...block!.trim().split('\n'));
  }
  expect(queries.length).toBeGreaterThan(10);
  const asRules = queries.map((expr, index) => ({ record: `query:${index}`, expr }));
  const path = join(folder.path, 'queries.yml');
  // JSON is YAML.
  await writeFile(path, JSON.stringify({ groups: [{ name: 'runbooks', rules: asRules }] }));
  await promtool(['check', 'rules', path]);
});

test('the example for Alertmanager names alarms that there are, and routes by a severity that they have', async () => {
  const example = await read('docker/alertmanager/alertmanager.example.yml');
  const named = [...example.matchAll(/alertname=~?"([\w|]+)"/g)].flatMap(([, names]) => (names as string).split('|'));
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((name) => !rules.some(({ alert }) => alert === name))).toEqual([]);
  expect(rules.some(({ labels }) => example.includes(`severity="${labels.severity}"`))).toBe(true);
});
