import { terminalText } from './terminal-text.js';

const UNSAFE = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e]/;

test('a line of the log is readable: time, level, message, ids', () => {
  const line = JSON.stringify({
    level: 'warn',
    time: '2026-01-02T03:04:05.678Z',
    service: 'edge-service',
    cycleId: 'C1',
    msg: 'cycle failed',
  });
  expect(terminalText(line)).toMatch(/^\[\d\d:\d\d:\d\d\] WARN: cycle failed \{"service":"edge-service","cycleId":"C1"\}$/);
});

test('what a client sent neither moves the cursor nor forges a line', () => {
  const mac = 'a\r\n[03:04:05] FATAL: forged\u001b[2J\u009b2J\u2028\u202e \\u001b';
  const escaped = JSON.stringify({ level: 'warn', time: '2026-01-02T03:04:05.678Z', mac, msg: `refused ${mac}` }).replace(
    /[\u007f-\u009f\u2028-\u202e]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  const text = terminalText(escaped);
  expect(text).not.toMatch(UNSAFE);
  expect(text).toContain('\\u001b[2J');
});

test('a stack keeps its lines', () => {
  const err = { type: 'Error', message: 'no', stack: 'Error: no\n    at here\n    at there' };
  expect(terminalText(JSON.stringify({ level: 'error', time: '2026-01-02T03:04:05.678Z', err, msg: 'failed' }))).toMatch(
    /\n +at here\n +at there/,
  );
});
