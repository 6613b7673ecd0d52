import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { readCentralConfig, schema as centralSchema } from '../../apps/central-api/src/config.js';
import { configSchema as edgeSchema, readEdgeConfig } from '../../apps/edge-service/src/config.js';
import { promtool, testWithPromtool } from '../support/promtool.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { COMPOSE_FILES, composeFile, readSettings, VARIABLE } from './compose-files.js';

const example = readSettings('.env.example');
/** .env.example as docker/make-env.sh completes it. */
const settings: Record<string, string> = {
  ...Object.fromEntries(Object.entries(example).map(([name, value]) => [name, name.endsWith('_PASSWORD') ? 'p4ss' : value])),
  TLS_CERT: '/etc/waypost/tls/server.crt',
  TLS_KEY: '/etc/waypost/tls/server.key',
  CENTRAL_CA: '/etc/waypost/trust/ca.crt',
};

interface Use {
  name: string;
  operator: string | undefined;
  value: string | undefined;
}
const variablesOf = (path: string): Use[] =>
  [...readFileSync(path, 'utf8').matchAll(VARIABLE)].map(([, name, operator, value]) => ({ name: String(name), operator, value }));

const services = COMPOSE_FILES.flatMap((path) => Object.entries(composeFile(path).services));

describe.each(COMPOSE_FILES)('%s', (path) => {
  test('uses only variables that .env.example has, with the defaults that it has; passwords have none, and must be set', () => {
    const uses = variablesOf(path);
    expect(uses.length).toBeGreaterThan(10);
    for (const { name, operator, value } of uses) {
      expect(example).toHaveProperty(name);
      if (name.endsWith('_PASSWORD')) expect({ name, operator, example: example[name] }).toEqual({ name, operator: '?', example: '' });
      else if (operator === '-') expect({ name, value }).toEqual({ name, value: example[name] });
    }
  });

  test('every name that it uses it declares, and every file that it mounts is there', () => {
    const { services, volumes, networks } = composeFile(path);
    for (const service of Object.values(services)) {
      for (const name of Object.keys(service.depends_on ?? {})) expect(services).toHaveProperty(name);
      for (const name of service.networks ?? []) expect(['default', ...Object.keys(networks)]).toContain(name);
      for (const volume of service.volumes ?? []) {
        const [source = ''] = volume.split(':');
        if (source.startsWith('.')) expect({ source, exists: existsSync(source) }).toEqual({ source, exists: true });
        else expect(volumes).toHaveProperty(source);
      }
    }
  });

  test('has nothing that Compose 1.29 or 2 would refuse', () => {
    const text = readFileSync(path, 'utf8');
    const topLevel = Object.keys(composeFile(path));
    expect(topLevel.filter((key) => !/^(services|volumes|networks|x-.*)$/.test(key))).toEqual([]);
    expect(text.replace(/^#.*$/gm, '')).not.toMatch(/start_interval|^\s+deploy:|required:|env_file/m);
  });
});

test('the two files have no name in common, so that they can be one project', () => {
  const [central, edge] = COMPOSE_FILES.map((path) => composeFile(path));
  for (const kind of ['services', 'volumes', 'networks'] as const) {
    const both = Object.keys(central?.[kind] ?? {}).filter((name) => name in (edge?.[kind] ?? {}));
    expect(both).toEqual([]);
  }
});

test('.env.example has no variable that nothing uses', () => {
  const used = new Set(COMPOSE_FILES.flatMap((path) => variablesOf(path).map(({ name }) => name)));
  expect(Object.keys(example).filter((name) => !used.has(name) && !name.startsWith('COMPOSE_'))).toEqual([]);
});

test.each(services)(
  '%s: a pinned image, a restart policy, rotated logs, a limit, no new privileges, ports of this machine alone',
  (name, service) => {
    const image = service.image.replaceAll(VARIABLE, (_, variable: string) => String(example[variable]));
    expect(image).toMatch(/^[a-z/-]+:[a-z]*\d[\w.-]*$/);
    expect(service.restart).toBe(service.profiles ? 'no' : 'unless-stopped');
    expect(service.logging).toEqual({ driver: 'json-file', options: { 'max-size': expect.any(String), 'max-file': expect.any(String) } });
    expect(service.security_opt).toContain('no-new-privileges:true');
    if (!service.profiles) expect(service.mem_limit).toBeDefined();
    if (name !== 'seq')
      expect({ read_only: service.read_only, cap_drop: service.cap_drop }).toEqual({ read_only: true, cap_drop: ['ALL'] });
    for (const port of service.ports ?? [])
      expect(port).toMatch(/^(127\.0\.0\.1|\$\{CENTRAL_BIND:-127\.0\.0\.1\}):\$\{[A-Z_]+:-\d+\}:\d+$/);
  },
);

const serviceOf = (name: string) =>
  COMPOSE_FILES.map((path) => composeFile(path, settings).services[name]).find((service) => service !== undefined);

test.each([
  ['central-api', Object.keys(centralSchema.shape), readCentralConfig],
  ['edge-service', Object.keys(edgeSchema.shape), readEdgeConfig],
] as const)('%s knows each variable that it is given, and takes the example’s values', (name, known, readConfig) => {
  const given = Object.entries(serviceOf(name)?.environment ?? {});
  const environment = Object.fromEntries(given.map(([variable, value]) => [variable, String(value ?? '')]));
  // OpenTelemetry's SDK reads its own.
  expect(Object.keys(environment).filter((variable) => !known.includes(variable) && !variable.startsWith('OTEL_'))).toEqual([]);
  expect(() => readConfig({ SYNC_PLAN: 'plan.yaml', ...environment })).not.toThrow();
});

test('no file holds a secret: every password comes from .env', () => {
  for (const environment of services.map(([, service]) => service.environment ?? {})) {
    for (const [name, value] of Object.entries(environment)) {
      if (name.includes('PASSWORD')) expect(value).toMatch(/^\$\{[A-Z_]+_PASSWORD:\?[^}]*\}$/);
      // What may be left out has an empty default.
      if (/SECRET|TOKEN|KEY/.test(name)) expect(value).toMatch(/^\$\{[A-Z_]+:-\}$/);
      const [, inUrl] = /:\/\/\w+:(.*)@/.exec(String(value)) ?? [];
      if (inUrl !== undefined) expect(inUrl).toMatch(/^\$\{[A-Z_]+_PASSWORD:\?[^}]*\}$/);
    }
  }
  for (const path of ['docker/postgres/central.sql', 'docker/postgres/edge.sql']) {
    const literals = readFileSync(path, 'utf8').match(/\bPASSWORD\b(?! :'\w+_password').*/g);
    expect(literals ?? []).toEqual([]);
  }
});

test('Prometheus asks the services at the ports at which they listen', () => {
  const { scrape_configs: jobs } = parse(readFileSync('docker/prometheus/prometheus.yml', 'utf8')) as {
    scrape_configs: { job_name: string; dns_sd_configs?: { names: string[]; port: number }[] }[];
  };
  const targets = jobs.flatMap(({ job_name: job, dns_sd_configs: names = [] }) => names.map((name) => ({ job, ...name })));
  expect(targets.map(({ job, names, port }) => [job, ...names, port])).toEqual([
    ['central', 'central-api', Number(serviceOf('central-api')?.environment?.['ADMIN_PORT'])],
    ['edge', 'edge-service', 8081],
  ]);
  // Central's numbers are for Prometheus alone; a device's are at its published port.
  for (const { job, names, port } of targets)
    expect(serviceOf(String(names[0]))?.ports?.some((published) => published.endsWith(`:${port}`))).toBe(job === 'edge');
});

testWithPromtool('Prometheus takes its settings, with the rules and the targets that they name', async () => {
  await using folder = await temporaryFolder();
  cpSync('docker/prometheus', folder.path, { recursive: true });
  const config = join(folder.path, 'prometheus.yml');
  writeFileSync(config, readFileSync(config, 'utf8').replaceAll('/etc/prometheus/', `${folder.path}/`));
  const output = await promtool(['check', 'config', config]);
  expect(output).toMatch(/SUCCESS: \d+ rules found/);
  expect(output).not.toMatch(/WARNING|FAILED/);
});

test('Prometheus has every variable that its settings use', () => {
  const settings = readFileSync('docker/prometheus/prometheus.yml', 'utf8');
  const used = [...settings.matchAll(/\$\{([A-Z_]+)\}/g)].map(([, name]) => String(name));
  expect(used).toEqual(Object.keys(serviceOf('prometheus')?.environment ?? {}));
});

test('Grafana has every variable that its data sources use, shows nothing to strangers and has the dashboards', () => {
  const environment = serviceOf('grafana')?.environment ?? {};
  const dataSources = readFileSync('docker/grafana/provisioning/datasources/waypost.yml', 'utf8');
  const used = [...dataSources.matchAll(/\$\{([A-Z_]+)\}/g)].map(([, name]) => String(name));
  expect(used.length).toBeGreaterThan(0);
  for (const name of used) expect(environment).toHaveProperty(name);
  expect(environment['GF_AUTH_ANONYMOUS_ENABLED']).toBe('false');
  const { providers } = parse(readFileSync('docker/grafana/provisioning/dashboards/waypost.yml', 'utf8')) as {
    providers: { options: { path: string } }[];
  };
  for (const { options } of providers) expect(serviceOf('grafana')?.volumes?.join()).toContain(`:${options.path}:ro`);
});
