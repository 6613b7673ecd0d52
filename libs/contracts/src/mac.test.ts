import fc from 'fast-check';
import { normalizeMac } from './mac.js';

const invalid = expect.objectContaining({ code: 'MAC_INVALID' }) as Error;

test.each([
  '48:b0:2d:e9:c3:b7',
  '48:B0:2D:E9:C3:B7',
  '48-b0-2d-e9-c3-b7',
  '48-B0-2D-E9-C3-B7',
  '48b0.2de9.c3b7',
  '48b0:2de9:c3b7',
  '48b0-2de9-c3b7',
  '48b02d:e9c3b7',
  '48b02d-e9c3b7',
  '48b02de9c3b7',
  '48B02DE9C3B7',
  '  48:b0:2d:e9:c3:b7\n',
])('%j is the MAC address 48:b0:2d:e9:c3:b7', (notation) => {
  expect(normalizeMac(notation)).toBe('48:b0:2d:e9:c3:b7');
});

test.each([
  '',
  '48:b0:2d:e9:c3',
  '48:b0:2d:e9:c3:b7:00',
  '48:b0:2d:e9:c3:g7',
  '48:b0-2d:e9-c3:b7',
  '48b0.2de9:c3b7',
  '48b0.2de9-c3b7',
  '48b02d.e9c3b7',
  '4:8b:02:de:9c:3b7',
  '48 b0 2d e9 c3 b7',
  '48::b0:2d:e9:c3:b7',
  '0x48b02de9c3b7',
  '48b02de9c3b',
  '48:b0:2d:e9:c3:b7; DROP TABLE devices',
  '４8:b0:2d:e9:c3:b7',
  '48:b0:2d:e9:c3:b7\n48:b0:2d:e9:c3:b8',
])('%j is no MAC address', (text) => {
  expect(() => normalizeMac(text)).toThrow(invalid);
});

test('every address has one form, which is its own normal form', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
      const normal = Buffer.from(bytes).toString('hex').match(/../g)?.join(':') ?? '';
      expect(normalizeMac(normal)).toBe(normal);
      expect(normalizeMac(normal.replaceAll(':', '-').toUpperCase())).toBe(normal);
      expect(normalizeMac(normal.replaceAll(':', ''))).toBe(normal);
    }),
  );
});

test('an error quotes no more than 64 characters of what was sent', () => {
  const junk = 'x'.repeat(10_000);
  expect(() => normalizeMac(junk)).toThrow(`"${'x'.repeat(64)}" is not a MAC address.`);
});
