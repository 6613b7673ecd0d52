import { problemSchema, toProblem } from './api.js';
import { ERROR_KINDS, type ErrorCode, WaypostError } from './errors.js';

const codes = Object.keys(ERROR_KINDS) as ErrorCode[];

describe('an error', () => {
  test.each(codes)('%s becomes a problem that tells code, status and what to do', (code) => {
    const kind = ERROR_KINDS[code];
    const problem = toProblem(new WaypostError(code));
    expect(problemSchema.parse(problem)).toEqual(problem);
    expect(problem).toEqual({ type: 'about:blank', title: kind.title, status: kind.status, code, hint: kind.hint });
    expect(kind.status).toBeGreaterThanOrEqual(400);
    expect(kind.status).toBeLessThan(600);
    expect(kind.hint).toMatch(/\S/);
    // A title is a headline, a hint is made of sentences (or ends with a command).
    expect(kind.title).not.toMatch(/[.\s]$/);
  });

  test('tells its own detail, hint and request where it has them', () => {
    const error = new WaypostError('NAME_INVALID', { detail: '"1a" is not a column name.', hint: 'Quote it.' });
    expect(toProblem(error, 'req-7')).toMatchObject({ detail: '"1a" is not a column name.', hint: 'Quote it.', requestId: 'req-7' });
    expect(error.message).toBe('"1a" is not a column name.');
  });

  test('has its kind’s title as message when nothing more is known', () => {
    expect(new WaypostError('SYNC_RUNNING').message).toBe('A sync is already running.');
    expect(toProblem(new WaypostError('SYNC_RUNNING'))).not.toHaveProperty('detail');
  });

  test('says how it heals', () => {
    expect(new WaypostError('CHUNK_CORRUPT').heals).toBe('retry');
    expect(new WaypostError('MANIFEST_EXPIRED')).toMatchObject({ heals: 'resnapshot', status: 410 });
    expect(new WaypostError('INTERNAL').heals).toBe('bug');
  });

  test('keeps its cause, and shows it to no client', () => {
    const cause = new Error('password=secret');
    const error = new WaypostError('DATABASE_UNAVAILABLE', { cause });
    expect(error.cause).toBe(cause);
    expect(JSON.stringify(toProblem(error))).not.toContain('secret');
    expect(new WaypostError('INTERNAL')).not.toHaveProperty('cause');
  });
});
