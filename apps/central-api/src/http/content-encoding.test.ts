import { costOfEightfold } from '../../../../test/support/growth.js';
import { chooseEncoding } from './content-encoding.js';

test.each([
  ['gzip, deflate, br, zstd', 'zstd'],
  ['gzip', 'gzip'],
  ['GZIP ; Q=0.5', 'gzip'],
  ['zstd;q=0, gzip;q=0.001', 'gzip'],
  ['zstd ; level=3 ; q=0', undefined],
  ['gzip;q=nonsense', undefined],
  ['identity', undefined],
  ['', undefined],
  [undefined, undefined],
])('Accept-Encoding %j is answered with %j', (header, encoding) => {
  expect(chooseEncoding(header)).toBe(encoding);
});

test.each(['\t', 'a', ';', ',', 'gzip ;', ' ; q='])('a header full of %j costs in proportion to its length', (unit) => {
  expect(costOfEightfold(unit, (text) => chooseEncoding(`a${text}b`))).toBeLessThan(24);
});
