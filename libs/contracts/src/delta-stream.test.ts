import fc from 'fast-check';
import { MAX_FRAME_BYTES } from './chunk-stream.js';
import {
  decodeDeltaHeader,
  decodeSegments,
  DELTA_HEADER_BYTES,
  type DeltaHeader,
  encodeDeltaHeader,
  encodeSegments,
  MAX_SEGMENT_BYTES,
  NO_ROWS,
  type SegmentEntry,
} from './delta-stream.js';
import { sha256Hex } from './hashes.js';

const HEADER: DeltaHeader = { format: 'text', baseSha256: sha256Hex('old'), sha256: sha256Hex('new'), segmentCount: 3, listBytes: 77 };
const SEGMENT: SegmentEntry = {
  keptChunks: 5,
  oldChunks: 1,
  newChunks: 2,
  rawBytes: 90_000,
  frameBytes: 41,
  check: Buffer.from('0102030405060708', 'hex'),
  ...NO_ROWS,
};
const ROWS: SegmentEntry = {
  ...SEGMENT,
  keptChunks: 0,
  oldChunks: 0,
  newChunks: 0,
  keysBytes: 300,
  keysFrameBytes: 120,
  oldCheck: Buffer.from('1112131415161718', 'hex'),
};

test('a header and a list of segments are what their bytes say', () => {
  expect(encodeDeltaHeader(HEADER).toString('hex')).toBe(
    `57504432${'01000000'}${sha256Hex('old')}${sha256Hex('new')}${'00000003'}${'0000004d'}`,
  );
  expect(encodeSegments([SEGMENT]).toString('hex')).toBe(
    '00000005' + '00000001' + '00000002' + '00015f90' + '00000029' + '00000000' + '00000000' + '0102030405060708' + '0000000000000000',
  );
  expect(encodeSegments([ROWS]).toString('hex')).toBe(
    '00000000' + '00000000' + '00000000' + '00015f90' + '00000029' + '0000012c' + '00000078' + '0102030405060708' + '1112131415161718',
  );
});

const u32 = fc.nat(0xffffffff);
const segment = fc.record({
  keptChunks: u32,
  oldChunks: u32,
  newChunks: fc.integer({ min: 1, max: 0xffffffff }),
  rawBytes: fc.integer({ min: 1, max: MAX_SEGMENT_BYTES }),
  frameBytes: fc.integer({ min: 1, max: MAX_FRAME_BYTES }),
  check: fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
  keysBytes: fc.constant(0),
  keysFrameBytes: fc.constant(0),
  oldCheck: fc.constant(NO_ROWS.oldCheck),
});
const rows = segment.map((entry) => ({ ...ROWS, check: entry.check, rawBytes: entry.rawBytes, keysBytes: entry.rawBytes }));
const cameRows = rows.map((entry) => ({ ...entry, keysBytes: 0, keysFrameBytes: 0 }));
const goneRows = rows.map((entry) => ({ ...entry, rawBytes: 0, frameBytes: 0 }));
const emptied = segment.map((entry) => ({ ...entry, oldChunks: Math.max(1, entry.oldChunks), newChunks: 0, rawBytes: 0, frameBytes: 0 }));

test('what is encoded is decoded as it was', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(segment, emptied, rows, cameRows, goneRows)), (segments) => {
      expect(decodeSegments(encodeSegments(segments), segments.length)).toEqual(segments);
      const header = { ...HEADER, segmentCount: segments.length };
      expect(decodeDeltaHeader(encodeDeltaHeader(header))).toEqual(header);
    }),
  );
});

test.each<[string, (header: Buffer) => Buffer]>([
  ['too short', (header) => header.subarray(0, DELTA_HEADER_BYTES - 1)],
  ['of something else', (header) => Buffer.concat([Buffer.from('WPC1'), header.subarray(4)])],
  ['of an unknown format', (header) => (header.writeUInt8(2, 4), header)],
  ['of a later version', (header) => (header.writeUInt8(1, 7), header)],
])('a header that is %s is refused', (_, alter) => {
  expect(() => decodeDeltaHeader(alter(encodeDeltaHeader(HEADER)))).toThrow('A delta is damaged');
});

test.each<[string, Partial<SegmentEntry>]>([
  ['changes nothing', { oldChunks: 0, newChunks: 0, rawBytes: 0, frameBytes: 0 }],
  ['is too long', { rawBytes: MAX_SEGMENT_BYTES + 1 }],
  ['has too long a frame', { frameBytes: MAX_FRAME_BYTES + 1 }],
  ['has chunks without bytes', { rawBytes: 0 }],
  ['has chunks without a frame', { frameBytes: 0 }],
  ['has bytes without chunks', { newChunks: 0 }],
  ['has chunks and keys', { keysBytes: 9, keysFrameBytes: 9 }],
])('a segment that %s is refused', (_, change) => {
  expect(() => decodeSegments(encodeSegments([{ ...SEGMENT, ...change }]), 1)).toThrow('A delta is damaged');
});

test.each<[string, Partial<SegmentEntry>]>([
  ['keeps chunks', { keptChunks: 1 }],
  ['has nothing', { rawBytes: 0, frameBytes: 0, keysBytes: 0, keysFrameBytes: 0 }],
  ['has keys without a frame', { keysFrameBytes: 0 }],
  ['has too long keys', { keysBytes: MAX_SEGMENT_BYTES + 1 }],
])('a segment of rows that %s is refused', (_, change) => {
  expect(() => decodeSegments(encodeSegments([{ ...ROWS, ...change }]), 1)).toThrow('A delta is damaged');
});

test('a list of another length than announced is refused', () => {
  expect(() => decodeSegments(encodeSegments([SEGMENT]), 2)).toThrow('A delta is damaged');
});
