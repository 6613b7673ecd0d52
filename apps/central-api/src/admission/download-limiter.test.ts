import { DownloadLimiter } from './download-limiter.js';

test('a device that opens one too many loses its oldest download, and no other device’s', () => {
  const places = new DownloadLimiter({ maxDownloads: 10, maxPerDevice: 2 });
  const cut: string[] = [];
  const free = new Map<string, () => void>();
  const open = (mac: string, name: string): void => {
    const release = places.take(mac, () => {
      cut.push(name);
      release();
    });
    free.set(name, release);
  };
  open('other', 'x');
  open('mac', 'a');
  open('mac', 'b');
  open('mac', 'c');
  expect(cut).toEqual(['a']);
  free.get('b')?.();
  open('mac', 'd');
  expect(cut).toEqual(['a']);
  open('mac', 'e');
  expect(cut).toEqual(['a', 'c']);
  for (const release of free.values()) release();
  expect(places.count).toBe(0);
});

test('when all places are taken, a device is refused until one is free', () => {
  const places = new DownloadLimiter({ maxDownloads: 2, maxPerDevice: 2 });
  const cut = (): void => undefined;
  const release = places.take('a', cut);
  places.take('b', cut);
  expect(codeOf(() => places.take('c', cut))).toBe('CENTRAL_BUSY');
  release();
  release();
  places.take('c', cut);
  expect(codeOf(() => places.take('d', cut))).toBe('CENTRAL_BUSY');
});

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return (error as { code: string }).code;
  }
}
