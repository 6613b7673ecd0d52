import { RIGHTS } from '@waypost/contracts';
import { DEVICE_STATES } from '../read/device-states.js';
import type { Side } from '../read/side.js';

export interface OptionSpec {
  /** As commander reads them: `--state <states>`. */
  flags: string;
  description: string;
  /** Allowed values; completion offers them. */
  choices?: readonly string[];
  /** Several of the choices, separated by commas. */
  list?: true;
  /** Completion offers files. */
  file?: true;
}

export interface CommandSpec {
  /** As it is typed: `status`, `plan check`. */
  name: string;
  /** Which service's database or address it reads. `either`: the one that it is given. */
  side: Side | 'either';
  summary: string;
  /** More than the summary, for `--help`. */
  description?: string;
  /** As commander reads them: `<device>`. */
  arguments: readonly { name: string; description: string }[];
  options: readonly OptionSpec[];
  examples: readonly string[];
  /** How long one SQL statement may take by default. */
  timeout: string;
  /** It works on files alone. */
  needsNoDatabase?: true;
}

const QUICK = '30s';
/** As long as central itself gives a snapshot. */
const READS_EVERYTHING = '30m';

const PLAN_OPTION: OptionSpec = { flags: '--plan <file>', description: 'the sync plan (default: SYNC_PLAN)', file: true };
const LIMIT_OPTION: OptionSpec = { flags: '--limit <count>', description: 'show at most so many' };
const AUTHORITY_OPTION: OptionSpec = {
  flags: '--authority <folder>',
  description: 'where ca.crt and ca.key are (default: --dir)',
  file: true,
};
const DIR_OPTION: OptionSpec = { flags: '--dir <folder>', description: 'the folder of the certificates and keys', file: true };
const SERVER_DAYS = 'how long it is valid, at most as long as the authority (default: 397)';
const SELECT_MANIFEST = 'its id, or a device’s MAC for its latest; ~1 behind either is the one before';

const DEVICE_ARGUMENT = { name: '<device>', description: 'its MAC address in any notation, its name, or its id' };

const KEY_ARGUMENT = { name: '<key>', description: 'its name or its id' };

/** Every command, in the order of `waypost --help`. */
export const COMMANDS: readonly CommandSpec[] = [
  {
    name: 'status',
    side: 'either',
    summary: 'is anything wrong, and what to do next',
    description:
      'Of the fleet, at central’s database; of one device, at its database or its service. The first line is the verdict; each finding comes with the next step. Exits with 1 when something is wrong.',
    arguments: [],
    options: [
      { flags: '--url <url>', description: 'ask a running service of either side, beside or instead of its database' },
      { flags: '--ca <file>', description: 'only authorities in it may sign the service’s certificate (default: CENTRAL_CA)', file: true },
      {
        flags: '--api-key-file <file>',
        description: 'holds the API key that central is shown (default: the key in WAYPOST_API_KEY)',
        file: true,
      },
    ],
    examples: [
      'waypost status',
      'waypost status --url http://127.0.0.1:8081',
      'waypost status --url https://central.example --ca ca.crt --api-key-file console.key',
      'waypost status --json | jq .findings',
    ],
    timeout: QUICK,
  },
  {
    name: 'devices',
    side: 'central',
    summary: 'every device: age of its verified state, last error',
    arguments: [],
    options: [
      { flags: '--state <states>', description: 'only these states', choices: DEVICE_STATES, list: true },
      { flags: '--older-than <age>', description: 'only devices whose verified state is older, such as 1h, or that have none' },
      {
        flags: '--sort <column>',
        description: 'worst first by default',
        choices: ['worst', 'age', 'mac', 'failures', 'request', 'error'],
      },
      LIMIT_OPTION,
    ],
    examples: ['waypost devices', 'waypost devices --state silent,failing', 'waypost devices --older-than 1h --sort age --json'],
    timeout: QUICK,
  },
  {
    name: 'history',
    side: 'central',
    summary: 'what one device asked, got and acknowledged, in order',
    arguments: [{ name: '<device>', description: 'its MAC address, in any notation' }],
    options: [{ flags: '--since <age>', description: 'only what is younger, such as 24h' }, LIMIT_OPTION],
    examples: ['waypost history 48:b0:2d:e9:c3:b7', 'waypost history 48B02DE9C3B7 --since 24h'],
    timeout: QUICK,
  },
  {
    name: 'manifest',
    side: 'central',
    summary: 'one manifest: tables, rows, hashes, filters, acknowledgements',
    arguments: [{ name: '<manifest>', description: SELECT_MANIFEST }],
    options: [],
    examples: ['waypost manifest 01JD8Y2M3N4P5Q6R7S8T9VWXYZ', 'waypost manifest 48:b0:2d:e9:c3:b7'],
    timeout: QUICK,
  },
  {
    name: 'diff',
    side: 'central',
    summary: 'what changed between two manifests',
    description:
      'Tables added, removed and changed. Where central’s snapshot store still holds both, also how many chunks, rows and bytes differ.',
    arguments: [
      { name: '<from>', description: `a manifest: ${SELECT_MANIFEST}` },
      { name: '<to>', description: 'likewise' },
    ],
    options: [{ flags: '--exit-code', description: 'exit with 1 when they differ' }],
    examples: ['waypost diff 48:b0:2d:e9:c3:b7~1 48:b0:2d:e9:c3:b7', 'waypost diff <from> <to> --exit-code'],
    timeout: QUICK,
  },
  {
    name: 'verify',
    side: 'edge',
    summary: 'hash a device’s tables again and compare them with its manifest',
    description:
      'Reads all mirrored tables of an edge database in one snapshot, changes nothing, and compares them with the manifest that the device says it holds; with central’s record of that manifest too, where central is given. Exits with 1 on drift.',
    arguments: [],
    options: [
      { flags: '--central-url <url>', description: 'central’s address (default: CENTRAL_URL)' },
      { flags: '--central-database-url <url>', description: 'central’s database (default: CENTRAL_DATABASE_URL)' },
    ],
    examples: ['waypost verify', 'waypost verify --central-url https://central.example', 'waypost verify --json | jq .drifted'],
    timeout: READS_EVERYTHING,
  },
  {
    name: 'adopt',
    side: 'edge',
    summary: 'hand tables of a device over to Waypost, or list whose they are',
    description:
      'Waypost writes only to tables that it made, that were empty when it first met them, or that are handed over here: their rows are then replaced by central’s. Changes schema waypost of the device’s database, and needs the right to. Without a table it lists which are Waypost’s.',
    arguments: [{ name: '[tables...]', description: 'as in SQL: users, sales.orders' }],
    options: [],
    examples: ['waypost adopt', 'waypost adopt users areas'],
    timeout: QUICK,
  },
  {
    name: 'plan check',
    side: 'central',
    summary: 'whether the sync plan fits the database, and what it reads',
    arguments: [],
    options: [PLAN_OPTION],
    examples: ['waypost plan check --plan plans/fleet.yaml'],
    timeout: QUICK,
  },
  {
    name: 'plan explain',
    side: 'central',
    summary: 'which rows and bytes a device would get now, and why',
    description:
      'Reads the device’s share as central would, in one snapshot, stores nothing, and shows the scope’s parameters, each table’s query with their values, its rows and its bytes.',
    arguments: [{ name: '<mac>', description: 'the device’s MAC address, in any notation' }],
    options: [PLAN_OPTION],
    examples: ['waypost plan explain 48:b0:2d:e9:c3:b7', 'waypost plan explain 48b0.2de9.c3b7 --json'],
    timeout: READS_EVERYTHING,
  },
  {
    name: 'capture show',
    side: 'central',
    summary: 'whether every change to what the plan reads is recorded',
    description:
      'Exits with 1 where a change could pass unnoticed, or a shadow read or the canary found that one did, with the reasons; requests read all tables then. Says when central last tried each table.',
    arguments: [],
    options: [PLAN_OPTION],
    examples: ['waypost capture show --plan plans/fleet.yaml'],
    timeout: QUICK,
  },
  {
    name: 'capture install',
    side: 'central',
    summary: 'triggers on every table that the plan reads, for `changes: triggers`',
    description:
      'Changes the database: four statement triggers on each table, in one transaction that locks each table against writers for a moment and sees that each of them records. The role must own the tables. Again after tables were added to the plan, or partitions to a table.',
    arguments: [],
    options: [PLAN_OPTION],
    examples: ['DATABASE_URL=postgres://owner@… waypost capture install --plan plans/fleet.yaml'],
    timeout: QUICK,
  },
  {
    name: 'capture remove',
    side: 'central',
    summary: 'takes those triggers away again',
    arguments: [],
    options: [],
    examples: ['waypost capture remove'],
    timeout: QUICK,
  },
  {
    name: 'capture trust',
    side: 'central',
    summary: 'ends the finding of a shadow read or of the canary: captured changes count again',
    description:
      'After you found and mended why a change was not captured (docs/runbooks/capture-lied.md, canary-failed.md). Every device has its tables read once more, then polls are answered from captured changes again. `capture show` lists open findings.',
    arguments: [{ name: '<table>', description: 'as capture show names it, or (scope)' }],
    options: [],
    examples: ['waypost capture trust users', "waypost capture trust '(scope)'"],
    timeout: QUICK,
  },
  {
    name: 'store check',
    side: 'central',
    summary: 'whether central’s chunk store holds all that it should',
    description:
      'Reads every chunk and compares it with its checksum and its SHA-256; central may keep running. With --repair, what is lost or damaged is forgotten, so that the next requests build it again. Exits with 1 when something is lost or damaged and was not repaired.',
    arguments: [],
    options: [
      { flags: '--snapshot-store <store>', description: 'where central keeps its packs (default: SNAPSHOT_STORE)' },
      { flags: '--repair', description: 'forget what is lost or damaged' },
    ],
    examples: ['waypost store check', 'waypost store check --repair --snapshot-store file:./var/snapshots'],
    timeout: READS_EVERYTHING,
  },
  {
    name: 'release',
    side: 'central',
    summary: 'tables that lost too many rows: which are held back, and consent to the loss',
    description:
      'Without a table, lists what is held back from devices because it lost more rows than MAX_SHRINK allows; exits with 1 where there is any. With a table and --mac or --all, consents to the loss as it is now: the devices get it with their next request, unless more rows are gone by then. Exits with 1 where nothing was to be released.',
    arguments: [{ name: '[table]', description: 'as the plan spells it' }],
    options: [
      { flags: '--mac <device>', description: 'for this device, by its MAC address in any notation' },
      { flags: '--all', description: 'for every device that the table is held back from' },
    ],
    examples: ['waypost release', 'waypost release orders --mac 48:b0:2d:e9:c3:b7', 'waypost release sales.orders --all'],
    timeout: QUICK,
  },
  {
    name: 'device add',
    side: 'central',
    summary: 'a one-time token with which a device enrolls',
    description:
      'Prints a secret that the edge is started with once, as ENROLLMENT_TOKEN. Central stores only its hash. For a device that has enrolled before, it gives the device a new key: the old one stays in force until the new one was used. With --reusable the token serves many new devices. A token that names no MAC needs an approval.',
    arguments: [],
    options: [
      { flags: '--mac <mac>', description: 'the device with this MAC address, in any notation' },
      {
        flags: '--name <name>',
        description: 'a name for it; without --mac, the MAC is the one that the device says, and waits for approval',
      },
      { flags: '--reusable <count>', description: 'for so many devices that have not enrolled yet' },
      { flags: '--for <duration>', description: 'how long the token is valid (default: 24h)' },
      { flags: '--require-approval', description: 'each device waits for waypost device approve' },
    ],
    examples: [
      'waypost device add --mac 48:b0:2d:e9:c3:b7',
      'waypost device add --mac 48:b0:2d:e9:c3:b7 --name barn-pi --json | jq -r .token',
      'waypost device add --reusable 20 --for 7d --require-approval',
    ],
    timeout: QUICK,
  },
  {
    name: 'device approve',
    side: 'central',
    summary: 'let a device in whose key waits for approval',
    description: 'Compare the key first: the device logs it, and waypost device show prints it. Exits with 1 where none waits.',
    arguments: [DEVICE_ARGUMENT],
    options: [],
    examples: ['waypost device approve 48:b0:2d:e9:c3:b7'],
    timeout: QUICK,
  },
  {
    name: 'device list',
    side: 'central',
    summary: 'devices that may enroll, or did',
    arguments: [],
    options: [LIMIT_OPTION],
    examples: ['waypost device list', "waypost device list --json | jq '.devices[] | select(.clonedAt)'"],
    timeout: QUICK,
  },
  {
    name: 'device show',
    side: 'central',
    summary: 'one device and its keys',
    arguments: [DEVICE_ARGUMENT],
    options: [],
    examples: ['waypost device show barn-pi'],
    timeout: QUICK,
  },
  {
    name: 'device rotate',
    side: 'central',
    summary: 'have a device replace its key',
    description:
      'The device makes a new key pair when it asks for its next access token, and its old key vouches for the new one. Nothing is to be done on the device. Exits with 1 where it has no key in force.',
    arguments: [DEVICE_ARGUMENT],
    options: [],
    examples: ['waypost device rotate barn-pi'],
    timeout: QUICK,
  },
  {
    name: 'device revoke',
    side: 'central',
    summary: 'refuse a device from its next request on',
    description:
      'Its keys and tokens open nothing any more. It enrolls again with a new token of waypost device add. Exits with 1 where it was revoked before.',
    arguments: [DEVICE_ARGUMENT],
    options: [],
    examples: ['waypost device revoke barn-pi'],
    timeout: QUICK,
  },
  {
    name: 'key add',
    side: 'central',
    summary: 'an API key with which a program asks central',
    description:
      'Prints a secret that the program sends in the header X-API-Key. Central stores only its hash. Rights: status (GET /api/status, the details of /health), metrics (GET /metrics), changes and export (tables; their routes come later).',
    arguments: [],
    options: [
      { flags: '--name <name>', description: 'the program, or what the key is for' },
      { flags: '--allow <rights>', description: 'what it may do', choices: RIGHTS, list: true },
      { flags: '--for <duration>', description: 'how long the key is valid, such as 90d (default: 365d)' },
    ],
    examples: [
      'waypost key add --name prometheus --allow metrics',
      'waypost key add --name console --allow status,metrics --for 90d --json | jq -r .key',
    ],
    timeout: QUICK,
  },
  {
    name: 'key list',
    side: 'central',
    summary: 'API keys: what they may do, when they were used last',
    arguments: [],
    options: [LIMIT_OPTION],
    examples: ['waypost key list', "waypost key list --json | jq '.keys[] | select(.lastUsedAt == null)'"],
    timeout: QUICK,
  },
  {
    name: 'key show',
    side: 'central',
    summary: 'one API key, without its secret',
    arguments: [KEY_ARGUMENT],
    options: [],
    examples: ['waypost key show prometheus'],
    timeout: QUICK,
  },
  {
    name: 'key revoke',
    side: 'central',
    summary: 'refuse an API key from its next request on',
    description: 'Exits with 1 where it was revoked before, or has expired.',
    arguments: [KEY_ARGUMENT],
    options: [],
    examples: ['waypost key revoke prometheus'],
    timeout: QUICK,
  },
  {
    name: 'keys show',
    side: 'central',
    summary: 'which keys sign manifests, until when, and where the root key is',
    description: 'Needs the URL that central itself uses. Exits with 1 where no key that is valid signs.',
    arguments: [],
    options: [LIMIT_OPTION],
    examples: ['waypost keys show', 'waypost keys show --json | jq .version'],
    timeout: QUICK,
  },
  {
    name: 'keys rotate',
    side: 'central',
    summary: 'a new key that signs manifests; with --root a new root key, too',
    description:
      'Makes the next trust document, signed by the root key. Devices follow with their next request, also those that were offline meanwhile: nothing is to be done on them. The key before stays valid for a day; with --revoke-now, after a compromise, it ends at once.',
    arguments: [],
    options: [
      { flags: '--revoke-now', description: 'the keys before sign nothing any more: others may have them' },
      { flags: '--days <count>', description: 'how long the new key is valid (default: 365)' },
      { flags: '--root', description: 'replace the root key, too' },
      { flags: '--root-key <file>', description: 'the root key in force, where it is offline', file: true },
      { flags: '--new-root-key <file>', description: 'write the new root key there, and not to central’s database', file: true },
    ],
    examples: [
      'waypost keys rotate',
      'waypost keys rotate --revoke-now --root-key root.pem',
      'waypost keys rotate --root --root-key root.pem --new-root-key root-2.pem',
    ],
    timeout: QUICK,
  },
  {
    name: 'keys export-root',
    side: 'central',
    summary: 'take the root key out of central’s database, into a file',
    description:
      'Writes the key as PEM, for its owner alone, and deletes it from the database when the file is on disk. From then on waypost keys rotate needs --root-key. Without the file the keys of the fleet cannot be replaced: keep two copies.',
    arguments: [{ name: '<file>', description: 'a new file; none is replaced' }],
    options: [],
    examples: ['waypost keys export-root /media/usb/waypost-root.pem'],
    timeout: QUICK,
  },
  {
    name: 'ledger verify',
    side: 'central',
    summary: 'whether ledger and audit are as devices acknowledged',
    description:
      'Reads the entries of the ledger in one snapshot and compares them with its tree, the tree with every signed checkpoint, each receipt with the key of its device, and the audit (sync_acknowledgements, sync_manifests, sync_requests) with the receipts. Names each row that was deleted or altered. With --device, the entries of one device alone. Rows that AUDIT_RETENTION (90d) lets go are not missed. Exits with 1 where something does not agree.',
    arguments: [],
    options: [{ flags: '--device <device>', description: DEVICE_ARGUMENT.description }],
    examples: ['waypost ledger verify', 'waypost ledger verify --device barn-pi', 'waypost ledger verify --json | jq .findings'],
    timeout: READS_EVERYTHING,
  },
  {
    name: 'ledger export',
    side: 'central',
    summary: 'one device’s receipts with all that proves them, in one file',
    description:
      'Writes receipts, inclusion proofs, checkpoints and keys as a bundle, which waypost ledger check judges without any database. The times are those at which central appended.',
    arguments: [],
    options: [
      { flags: '--device <device>', description: DEVICE_ARGUMENT.description },
      { flags: '--from <time>', description: 'appended since then, such as 2026-01-01 or 2026-01-01T08:00:00Z (default: the beginning)' },
      { flags: '--to <time>', description: 'appended before then (default: now)' },
      { flags: '--out <file>', description: 'the file to write', file: true },
    ],
    examples: ['waypost ledger export --device barn-pi --from 2026-01-01 --to 2026-02-01 --out receipts.ndjson'],
    timeout: READS_EVERYTHING,
  },
  {
    name: 'ledger check',
    side: 'central',
    summary: 'judge a bundle of receipts, without any database',
    description:
      'Checks signatures, proofs, the order of the receipts and that none is missing; names the line where something is wrong. With --key, only these keys of the ledger are trusted; else the key is printed, and is to be compared. Exits with 1 where the bundle is refused.',
    arguments: [{ name: '<bundle>', description: 'the file that ledger export wrote' }],
    options: [{ flags: '--key <keys...>', description: 'verifier keys of the ledger: name+id+key' }],
    examples: ['waypost ledger check receipts.ndjson', 'waypost ledger check receipts.ndjson --json | jq .faults'],
    timeout: QUICK,
    needsNoDatabase: true,
  },
  {
    name: 'certs init',
    side: 'central',
    summary: 'a private certificate authority, for central’s certificate',
    description:
      'Writes ca.crt and ca.key (ECDSA P-256). Devices get ca.crt, or its fingerprint; ca.key signs, and belongs in a safe place. An authority that is there already is never replaced without --force: no device would trust the new one.',
    arguments: [],
    options: [
      DIR_OPTION,
      { flags: '--name <name>', description: 'of the authority (default: Waypost CA)' },
      { flags: '--days <count>', description: 'how long it is valid (default: 3650)' },
      { flags: '--force', description: 'replace the authority that is there' },
    ],
    examples: ['waypost certs init --dir ./certificates', "waypost certs init --dir ./certificates --name 'Example fleet'"],
    timeout: QUICK,
    needsNoDatabase: true,
  },
  {
    name: 'certs server',
    side: 'central',
    summary: 'a key and a certificate for central, signed by that authority',
    description:
      'Writes server.crt, which ends with the authority’s certificate, and server.key: TLS_CERT and TLS_KEY of central. Replaces those that are there.',
    arguments: [],
    options: [
      DIR_OPTION,
      AUTHORITY_OPTION,
      { flags: '--host <names...>', description: 'names and IP addresses that stand in CENTRAL_URL' },
      { flags: '--days <count>', description: SERVER_DAYS },
    ],
    examples: ['waypost certs server --dir ./certificates --host central.example 192.0.2.7'],
    timeout: QUICK,
    needsNoDatabase: true,
  },
  {
    name: 'certs renew',
    side: 'central',
    summary: 'central’s certificate again, for the same key and hosts',
    description: 'Replaces server.crt. Central serves it within seconds, without a restart.',
    arguments: [],
    options: [DIR_OPTION, AUTHORITY_OPTION, { flags: '--days <count>', description: SERVER_DAYS }],
    examples: ['waypost certs renew --dir ./certificates'],
    timeout: QUICK,
    needsNoDatabase: true,
  },
];

/** Options of every command that asks a database. */
const DATABASE_OPTIONS: readonly OptionSpec[] = [
  { flags: '--database-url <url>', description: 'the database (default: DATABASE_URL, which other users of the machine do not see)' },
  { flags: '--timeout <duration>', description: 'how long one SQL statement may take' },
];
/** Options of every command. */
const OUTPUT_OPTIONS: readonly OptionSpec[] = [
  { flags: '--json', description: 'one JSON document on standard output, errors too' },
  { flags: '--no-color', description: 'no colours (as NO_COLOR=1); there are none in a pipe' },
];

/** All options that a command takes. */
export function optionsOf({ options, needsNoDatabase }: CommandSpec): readonly OptionSpec[] {
  return [...options, ...(needsNoDatabase ? [] : DATABASE_OPTIONS), ...OUTPUT_OPTIONS];
}

/** What an option has after the command line was read: several values where its flags end with `...>`. */
export type OptionValue = string | boolean | readonly string[] | undefined;

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** `--state` of `--state <states>`. */
export function longFlag({ flags }: OptionSpec): string {
  return flags.split(' ')[0] as string;
}

export function takesValue({ flags }: OptionSpec): boolean {
  return flags.includes('<');
}
