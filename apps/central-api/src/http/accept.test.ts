import { accepts } from './accept.js';

const TYPE = 'application/vnd.waypost.live';

test.each([
  [TYPE, true],
  [`application/json, ${TYPE}`, true],
  [`${TYPE.toUpperCase()};q=0.1`, true],
  [`${TYPE};q=0`, false],
  [`${TYPE};q=0.000, application/json`, false],
  [`${TYPE};q=x`, false],
  [`${TYPE}-stream`, false],
  ['*/*', false],
  ['', false],
  [undefined, false],
])('Accept %j takes live streams: %j', (header, expected) => {
  expect(accepts(header, TYPE)).toBe(expected);
});
