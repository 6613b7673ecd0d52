import { type Answer, type CommandContext, ExitCode, formatTime, renderFacts } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { CertificateFolder, type Owner } from '../certificates/certificate-folder.js';
import { createAuthority } from '../certificates/create-authority.js';
import { type HostName, parseHostName } from '../certificates/host-name.js';
import { hostsOf } from '../certificates/hosts-of.js';
import { issueServerCertificate } from '../certificates/issue-server-certificate.js';
import { certificateFromPem } from '../certificates/signed-certificate.js';

const AUTHORITY_DAYS = 3650;
/** As long as browsers accept: 13 months. */
const SERVER_DAYS = 397;
const MOST_DAYS = 36_500;
const DEFAULT_NAME = 'Waypost CA';

/** `waypost certs init`: a private certificate authority. */
export async function certsInit(context: CommandContext): Promise<Answer> {
  const folder = folderOf(context);
  if (!context.flag('force') && (await folder.has('ca'))) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: `There is a certificate authority already: ${folder.certificateFile('ca')}`,
      hint: 'Devices that trust it would not trust another one. `waypost certs renew` renews the server’s certificate; --force replaces the authority.',
    });
  }
  const name = context.option('name') ?? DEFAULT_NAME;
  const authority = await createAuthority({ name, days: daysOf(context, AUTHORITY_DAYS) });
  await folder.put('ca', authority);
  const facts = { authority: describe(folder, 'ca', authority.certificate), server: null };
  return answer(context, facts, 'Next: waypost certs server --dir DIR --host NAME');
}

/** `waypost certs server`: a new key and certificate for a server. */
export async function certsServer(context: CommandContext): Promise<Answer> {
  const hosts = context.values('host').map(parseHostName);
  if (hosts.length === 0) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: 'No --host is given.',
      hint: 'Name what stands in CENTRAL_URL: --host central.example 192.0.2.7',
    });
  }
  const folder = folderOf(context);
  const authority = await authorityFolder(context).get('ca');
  const server = await issueServerCertificate({ authority, hosts, days: daysOf(context, SERVER_DAYS) });
  await folder.put('server', server);
  return serverAnswer(context, { authority: authority.certificate, server: server.certificate, hosts });
}

/** `waypost certs renew`: the server's certificate again, of the same key and for the same hosts. Devices that pinned the authority notice nothing. */
export async function certsRenew(context: CommandContext): Promise<Answer> {
  const folder = folderOf(context);
  const [authority, before] = [await authorityFolder(context).get('ca'), await folder.get('server')];
  certificateFromPem(before.certificate, 'server.crt');
  const hosts = hostsOf(before.certificate);
  const server = await issueServerCertificate({ authority, hosts, days: daysOf(context, SERVER_DAYS), key: before.key });
  await folder.putCertificate('server', server.certificate);
  return serverAnswer(context, { authority: authority.certificate, server: server.certificate, hosts });
}

function folderOf(context: CommandContext): CertificateFolder {
  const path = context.option('dir');
  if (path !== undefined) return new CertificateFolder(path);
  throw new WaypostError('CONFIG_INVALID', {
    detail: 'No --dir is given.',
    hint: 'Name the folder of the certificates: --dir ./certificates',
  });
}

/** The authority may lie elsewhere, so that central’s machine or container does not see its key. */
function authorityFolder(context: CommandContext): CertificateFolder {
  const path = context.option('authority');
  return path === undefined ? folderOf(context) : new CertificateFolder(path);
}

/** @throws WaypostError CONFIG_INVALID */
function daysOf(context: CommandContext, fallback: number): number {
  const text = context.option('days') ?? String(fallback);
  if (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= MOST_DAYS) return Number(text);
  throw new WaypostError('CONFIG_INVALID', {
    detail: `--days ${JSON.stringify(text)} is not a count of days.`,
    hint: 'For instance --days 90.',
  });
}

interface Described {
  file: string;
  keyFile: string;
  subject: string;
  /** SHA-256, as CENTRAL_FINGERPRINT takes it. */
  fingerprint: string;
  expiresAt: string;
}

function describe(folder: CertificateFolder, owner: Owner, pem: string): Described {
  const { subject, fingerprint256, validToDate } = certificateFromPem(pem, `${owner}.crt`);
  return {
    file: folder.certificateFile(owner),
    keyFile: folder.keyFile(owner),
    subject,
    fingerprint: fingerprint256,
    expiresAt: validToDate.toISOString(),
  };
}

interface Made {
  authority: string;
  server: string;
  hosts: readonly HostName[];
}

function serverAnswer(context: CommandContext, { authority, server, hosts }: Made): Answer {
  const facts = {
    authority: describe(authorityFolder(context), 'ca', authority),
    server: { ...describe(folderOf(context), 'server', server), hosts: hosts.map(({ value }) => value) },
  };
  return answer(
    context,
    facts,
    `Central: TLS_CERT=${facts.server.file} TLS_KEY=${facts.server.keyFile}. It takes renewed files by itself.\n` +
      `Devices: CENTRAL_CA=… with a copy of ${facts.authority.file}, or CENTRAL_FINGERPRINT=${facts.authority.fingerprint}`,
  );
}

function answer(
  context: CommandContext,
  data: { authority: Described; server: (Described & { hosts: string[] }) | null },
  next: string,
): Answer {
  const { authority, server } = data;
  const shown: [string, string][] = [
    ['authority', `${authority.file}, key ${authority.keyFile}`],
    ['expires', formatTime(authority.expiresAt)],
    ['fingerprint', authority.fingerprint],
  ];
  if (server) {
    shown.push(
      ['server', `${server.file}, key ${server.keyFile}`],
      ['hosts', server.hosts.join(', ')],
      ['expires', formatTime(server.expiresAt)],
      ['fingerprint', server.fingerprint],
    );
  }
  return { data, text: [renderFacts(shown, context.paint), '', next].join('\n'), exitCode: ExitCode.ok };
}
