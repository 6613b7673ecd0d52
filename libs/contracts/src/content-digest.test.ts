import { contentDigest, readContentDigest } from './content-digest.js';

test('is the form of RFC 9530, of its example', () => {
  expect(contentDigest('{"hello": "world"}\n')).toBe('sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:');
});

test.each([
  ['sha-256=:AAA=:', 'AAA='],
  ['sha-512=:BBB=:, sha-256=:AAA=:', 'AAA='],
  ['sha-512=:BBB=:', undefined],
  ['not-sha-256=:AAA=:', undefined],
  ['', undefined],
  [undefined, undefined],
])('%j gives %j', (header, digest) => {
  expect(readContentDigest(header)).toBe(digest);
});
