import { generateKeyPairSync } from 'node:crypto';
import { checkBundle } from './check-bundle.js';
import { signCheckpoint } from './checkpoint.js';
import { keyThumbprint } from './identity.js';
import { bundleLine, sealLine } from './ledger-bundle.js';
import { formatEntry } from './ledger-entry.js';
import { Frontier } from './merkle-frontier.js';
import { inclusionProof } from './merkle-proof.js';
import { leafHash } from './merkle-tree.js';
import { formatVerifierKey, type SigningKey, verifierKeyOf } from './signed-note.js';
import { receiptSha256, signReceipt } from './signed-receipt.js';

const ORIGIN = 'urn:waypost:fleet:01ARZ3NDEKTSV4RRFFQ69G5FAV';
const ULID = '01ARZ3NDEKTSV4RRFFQ69G5FAV';
const LEDGER: SigningKey = { name: ORIGIN, privateKey: generateKeyPairSync('ed25519').privateKey };
const DEVICE = generateKeyPairSync('ed25519');
const X = DEVICE.publicKey.export({ format: 'jwk' }).x as string;
const RECEIPTS = 5;

/** Entries of five receipts and of polls, among those of others. */
function entriesOf(): string[] {
  let previous: string | null = null;
  const entries = Array.from({ length: RECEIPTS }, (_, at) => {
    const { body, signature } = signReceipt(
      {
        version: 1,
        fleet: ULID,
        device: ULID,
        mac: '02:00:00:00:00:01',
        key: keyThumbprint(X),
        sequence: at + 1,
        previous,
        manifestId: ULID,
        manifestSha256: 'a'.repeat(64),
        result: 'Success',
        error: null,
        tables: [{ name: 'vaults', rowCount: at, sha256: 'b'.repeat(64), read: 'whole' }],
        startedAt: '2026-01-01T00:00:00.000Z',
        completedAt: '2026-01-01T00:00:01.000Z',
      },
      DEVICE.privateKey,
    );
    previous = receiptSha256(body);
    return formatEntry({ version: 1, kind: 'receipt', receipt: body, signature, ack: null });
  });
  const hour = '2026-01-01T00:00:00.000Z';
  const polls = {
    version: 1,
    kind: 'polls',
    device: ULID,
    mac: '02:00:00:00:00:01',
    hour,
    polls: 12,
    manifestId: ULID,
    manifestSha256: 'a'.repeat(64),
  } as const;
  return [...entries, formatEntry(polls)];
}

async function makeBundle({ signer = LEDGER, strangers = 'other' } = {}): Promise<string[]> {
  const frontier = Frontier.empty();
  const hashes = new Map<string, Buffer>();
  const entries = entriesOf();
  const append = (text: string): void => {
    for (const { level, index, hash } of frontier.append(leafHash(Buffer.from(text)))) hashes.set(`${level} ${index}`, hash);
  };
  const indexes = entries.map((entry, at) => {
    append(`${strangers} ${at}`);
    append(entry);
    return frontier.size - 1;
  });
  const [size, root] = [frontier.size, frontier.root()];
  const checkpoint = signCheckpoint({ origin: ORIGIN, size, root, extensions: [] }, [signer]);
  const header = {
    format: 'waypost-ledger-bundle',
    version: 1,
    device: ULID,
    from: null,
    to: '2026-02-01T00:00:00.000Z',
    origin: ORIGIN,
    keys: [formatVerifierKey(verifierKeyOf(LEDGER))],
    deviceKeys: [{ thumbprint: keyThumbprint(X), publicKey: X }],
    checkpoint,
    earlier: [],
    entries: entries.length,
  };
  const lines = [bundleLine(header)];
  for (const [at, entry] of entries.entries()) {
    const index = indexes[at] as number;
    const proof = await inclusionProof(index, size, (nodes) =>
      Promise.resolve(nodes.map((node) => hashes.get(`${node.level} ${node.index}`) as Buffer)),
    );
    lines.push(bundleLine({ index, entry, proof }));
  }
  return [...lines, sealLine(ORIGIN, lines, signer)];
}

test('a bundle as central writes it holds', async () => {
  const verdict = checkBundle((await makeBundle()).join(''), [verifierKeyOf(LEDGER)]);
  expect(verdict).toMatchObject({ faults: [], receipts: RECEIPTS, failures: 0, polls: 12, checkpoint: { size: 12 } });
});

test('a bundle with any byte changed is refused, and the line is named', async () => {
  const lines = await makeBundle();
  const text = lines.join('');
  const trusted = [verifierKeyOf(LEDGER)];
  const lineAt = (at: number): number => text.slice(0, at).split('\n').length;
  for (let at = 0; at < text.length; at += 13) {
    const changed = `${text.slice(0, at)}${text[at] === 'b' ? 'c' : 'b'}${text.slice(at + 1)}`;
    const { faults } = checkBundle(changed, trusted);
    expect(faults).not.toEqual([]);
    expect(faults.map(({ line }) => line)).toContain(lineAt(at));
  }
});

test.each<[string, (lines: string[]) => string[], number]>([
  ['the first receipt removed', ([header, , ...rest]) => [header!, ...rest], 7],
  ['a receipt removed', (lines) => lines.filter((_, at) => at !== 3), 4],
  ['the last receipt removed', (lines) => lines.filter((_, at) => at !== 5), 7],
  ['two receipts in another order', ([a, b, c, ...rest]) => [a!, c!, b!, ...rest], 3],
  ['a receipt twice', ([a, b, ...rest]) => [a!, b!, b!, ...rest], 3],
  ['no seal', (lines) => lines.slice(0, -1), 7],
  ['more after the seal', (lines) => [...lines, 'more'], 9],
])('a bundle with %s is refused', async (_, change, line) => {
  const { faults } = checkBundle(change(await makeBundle()).join(''));
  expect(faults.map((fault) => fault.line)).toContain(line);
});

test('a checkpoint of another history is refused, also where the ledger itself signed it', async () => {
  const [bundle, fork] = [await makeBundle(), await makeBundle({ strangers: 'forked' })];
  const forked = JSON.parse(fork[0]!) as { checkpoint: string };
  const header = bundleLine({ ...(JSON.parse(bundle[0]!) as object), checkpoint: forked.checkpoint });
  const lines = [header, ...bundle.slice(1, -1)];
  const { faults } = checkBundle([...lines, sealLine(ORIGIN, lines, LEDGER)].join(''));
  expect(faults[0]).toEqual({ line: 2, fault: expect.stringMatching(/^leaf 1 is not in the tree of the checkpoint/) as string });
});

test('a bundle that another key sealed is refused by those who know the ledger’s', async () => {
  const stranger = { name: ORIGIN, privateKey: generateKeyPairSync('ed25519').privateKey };
  const { faults } = checkBundle((await makeBundle({ signer: stranger })).join(''), [verifierKeyOf(LEDGER)]);
  expect(faults.map(({ line }) => line)).toEqual(expect.arrayContaining([1, 8]));
});
