import { EMPTY_TABLE_SHA256, sha256, sha256Hex, tableSha256 } from './hashes.js';

// FIPS 180-4's example.
const ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';

test('hashes are SHA-256', () => {
  expect(sha256(Buffer.from('abc')).toString('hex')).toBe(ABC);
  expect(sha256Hex('abc')).toBe(ABC);
  expect(sha256Hex('ü')).toBe(sha256(Buffer.from('c3bc', 'hex')).toString('hex'));
});

test('a table without rows has the hash of no bytes', () => {
  expect(tableSha256([])).toBe(EMPTY_TABLE_SHA256);
  expect(EMPTY_TABLE_SHA256).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
});

test('a table’s hash depends on the order of its chunks', () => {
  const [a, b] = [sha256(Buffer.from('a')), sha256(Buffer.from('b'))];
  expect(tableSha256([a, b])).toBe(sha256(Buffer.concat([a, b])).toString('hex'));
  expect(tableSha256([b, a])).not.toBe(tableSha256([a, b]));
});
