import { type Answer, type CommandContext, ExitCode, formatSpan, formatTime, plural } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { approve, type EnrolledDevice, findDevice, invite, keysOf, listDevices, revoke, rotate } from '../read-models/identities.js';
import { operator, write } from './write.js';

const DEFAULT_LIMIT = 1000;
const DEFAULT_LIFE_MS = 24 * 3_600_000;
const MAX_USES = 100_000;
const NAME = /^[A-Za-z][A-Za-z0-9._-]{0,62}$/;

/** `waypost device add`: a one-time token with which a device enrolls. */
export async function deviceAdd(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const [mac, name, reusable] = [context.option('mac'), context.option('name'), context.option('reusable')];
  const isBatch = mac === undefined && name === undefined;
  if (isBatch === (reusable === undefined))
    throw usage('Name one device (--mac, --name, or both), or say for how many the token is (--reusable 20).');
  if (name !== undefined && !NAME.test(name))
    throw usage(`--name ${JSON.stringify(name)}: up to 63 letters, digits, dots, hyphens and underscores, a letter first.`);
  const issued = await write(context, 'enrollment_tokens', (query) =>
    invite(query, {
      mac: mac === undefined ? undefined : context.mac(mac),
      name,
      uses: reusable === undefined ? 1 : usesOf(reusable),
      lifeMs: context.duration('for') ?? DEFAULT_LIFE_MS,
      // Such a token does not say which MAC is right: an operator does.
      needsApproval: context.flag('requireApproval') || (mac === undefined && name !== undefined),
      by: operator(),
    }),
  );
  const { device, token, expiresAt, uses, needsApproval } = issued;
  const text = [
    device === null ? `A token for ${plural(uses, 'device')} that has not enrolled yet.` : `A token for the device ${nameOf(device)}.`,
    `It is valid until ${expiresAt.toISOString()}${uses === 1 ? ', once,' : ''} and is not shown again. Start the edge with:`,
    '',
    `  ENROLLMENT_TOKEN=${token}`,
    ...(needsApproval ? ['', 'Each device then waits for: waypost device approve DEVICE'] : []),
  ].join('\n');
  return { data: { device, token, expiresAt: expiresAt.toISOString(), uses, needsApproval }, text, exitCode: ExitCode.ok };
}

/** `waypost device approve`: the key that waits opens the device’s share from now on. */
export async function deviceApprove(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const device = await findDevice(context.database.query, context.subject);
  const approved = await write(context, 'device_keys', (query) => approve(query, device.id));
  const text =
    approved.length === 0
      ? `No key of ${nameOf(device)} waits for approval.`
      : context.paint('good', `${nameOf(device)} is approved, with the key ${approved.join(', ')}.`);
  return { data: { deviceId: device.id, approved }, text, exitCode: approved.length === 0 ? ExitCode.finding : ExitCode.ok };
}

/** `waypost device list`: devices that may enroll, or did. */
export async function deviceList(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const devices = await listDevices(context.database.query, context.limit(DEFAULT_LIMIT));
  const text = devices.length === 0 ? 'No device was added yet: waypost device add --mac MAC' : tableOf(context, devices);
  return { data: { devices: devices.map(dataOf) }, text, exitCode: ExitCode.ok };
}

/** `waypost device show`: one device and its keys. */
export async function deviceShow(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const device = await findDevice(context.database.query, context.subject);
  const keys = await keysOf(context.database.query, device.id);
  const table = context.table(
    [
      { title: 'key', elastic: true },
      { title: 'enrolled ago', align: 'right' },
      { title: 'used ago', align: 'right' },
      { title: 'certificate until' },
      { title: 'receipts', align: 'right' },
      { title: 'state' },
    ],
    keys.map((key) => [
      key.thumbprint,
      ago(key.enrolledAt),
      key.lastUsedAt && ago(key.lastUsedAt),
      key.certificateExpiresAt && formatTime(key.certificateExpiresAt.toISOString()),
      key.receipts === null ? null : String(key.receipts),
      stateOf(key),
    ]),
  );
  const findings = keys.flatMap(({ thumbprint, receiptFinding }) =>
    receiptFinding === null ? [] : [`Receipts of the key ${thumbprint}: ${receiptFinding}.`],
  );
  const text = [
    tableOf(context, [device]),
    ...(keys.length > 0 ? ['', table] : []),
    ...findings.map((finding) => context.paint('bad', finding)),
  ].join('\n');
  return { data: { device: dataOf(device), keys: keys.map((key) => ({ ...key, state: stateOf(key) })) }, text, exitCode: ExitCode.ok };
}

/** `waypost device revoke`: it gets nothing any more, until it is added again. */
export async function deviceRevoke(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const device = await findDevice(context.database.query, context.subject);
  const revoked = await write(context, 'devices', (query) => revoke(query, device.id));
  const text = revoked
    ? [
        context.paint('good', `${nameOf(device)} is revoked: its next request is refused.`),
        'It can enroll again with a new token: waypost device add.',
      ].join('\n')
    : `${nameOf(device)} was revoked before.`;
  return { data: { deviceId: device.id, revoked }, text, exitCode: revoked ? ExitCode.ok : ExitCode.finding };
}

/** `waypost device rotate`: the device replaces its key by itself. */
export async function deviceRotate(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const device = await findDevice(context.database.query, context.subject);
  const asked = await write(context, 'devices', (query) => rotate(query, device.id));
  const text = asked
    ? `${nameOf(device)} replaces its key when it asks for its next access token; the old one is retired with the first use of the new one.`
    : `${nameOf(device)} has no key in force: waypost device add lets it enroll.`;
  return { data: { deviceId: device.id, asked }, text, exitCode: asked ? ExitCode.ok : ExitCode.finding };
}

function tableOf(context: CommandContext, devices: readonly EnrolledDevice[]): string {
  const TONES = { invited: 'warn', pending: 'warn', active: 'good', revoked: 'bad' } as const;
  return context.table(
    [
      { title: 'device' },
      { title: 'mac' },
      { title: 'state' },
      { title: 'enrolled ago', align: 'right' },
      { title: 'used ago', align: 'right' },
      { title: 'finding', elastic: true },
    ],
    devices.map((device) => [
      device.name ?? device.id,
      device.mac,
      { text: device.state, tone: TONES[device.state] },
      device.enrolledAt && ago(device.enrolledAt),
      device.lastUsedAt && ago(device.lastUsedAt),
      device.clonedAt && `two machines use its identity (noticed ${ago(device.clonedAt)} ago)`,
    ]),
  );
}

function dataOf(device: EnrolledDevice): object {
  const time = (date: Date | null): string | null => date?.toISOString() ?? null;
  const { createdAt, enrolledAt, lastUsedAt, revokedAt, clonedAt } = device;
  return {
    ...device,
    createdAt: time(createdAt),
    enrolledAt: time(enrolledAt),
    lastUsedAt: time(lastUsedAt),
    revokedAt: time(revokedAt),
    clonedAt: time(clonedAt),
  };
}

function stateOf({
  retiredAt,
  approvedAt,
  firstUsedAt,
}: Awaited<ReturnType<typeof keysOf>>[number]): 'retired' | 'pending' | 'unused' | 'active' {
  if (retiredAt) return 'retired';
  if (!approvedAt) return 'pending';
  return firstUsedAt ? 'active' : 'unused';
}

function nameOf({ name, mac, id }: Pick<EnrolledDevice, 'id' | 'mac' | 'name'>): string {
  return [name ?? id, ...(mac === null ? [] : [`(${mac})`])].join(' ');
}

function ago(date: Date): string {
  return formatSpan(Math.max(0, Date.now() - date.getTime()));
}

function usesOf(text: string): number {
  const uses = Number(text);
  if (/^\d+$/.test(text) && uses >= 1 && uses <= MAX_USES) return uses;
  throw usage(`--reusable ${JSON.stringify(text)} is not a number of devices from 1 to ${MAX_USES}.`);
}

function usage(detail: string): WaypostError {
  return new WaypostError('CONFIG_INVALID', {
    detail,
    hint: 'waypost device add --mac 48:b0:2d:e9:c3:b7, or waypost device add --reusable 20 --for 7d --require-approval',
  });
}
