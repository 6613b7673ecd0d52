import { type DeltaParts, encodeDelta } from './delta-of.js';

/** What a careless or hostile central, or link, makes of a delta. */
export const DAMAGES: [string, (parts: DeltaParts) => Buffer][] = [
  ['a bit of its last frame flipped', (parts) => flip(encodeDelta(parts), -12)],
  ['a bit of its list flipped', (parts) => flip(encodeDelta(parts), 90)],
  ['its header flipped', (parts) => flip(encodeDelta(parts), 2)],
  ['another base', (parts) => encodeDelta({ ...parts, baseSha256: 'a'.repeat(64) })],
  ['another end', (parts) => encodeDelta({ ...parts, sha256: 'a'.repeat(64) })],
  [
    'a segment left out',
    ({ segments, frames, ...hashes }) => encodeDelta({ ...hashes, segments: segments.slice(1), frames: frames.slice(1) }),
  ],
  [
    'its segments in another order',
    ({ segments, frames, ...hashes }) => encodeDelta({ ...hashes, segments: segments.toReversed(), frames: frames.toReversed() }),
  ],
  [
    'a segment twice',
    ({ segments, frames, ...hashes }) => encodeDelta({ ...hashes, segments: [...segments, segments[0]!], frames: [...frames, frames[0]!] }),
  ],
  [
    'rows twice',
    ({ segments, frames, ...hashes }) =>
      encodeDelta({ ...hashes, segments: [...segments, segments.at(-1)!], frames: [...frames, frames.at(-1)!] }),
  ],
  [
    'places that are not there',
    ({ segments, frames, ...hashes }) =>
      encodeDelta({ ...hashes, segments: segments.with(0, { ...segments[0]!, keptChunks: 100_000 }), frames }),
  ],
  ['more bytes than its list says', (parts) => Buffer.concat([encodeDelta(parts), Buffer.from('more')])],
  [
    'a list that no memory holds',
    (parts) => {
      const bytes = encodeDelta(parts);
      bytes.writeUInt32BE(0xffff_ffff, 72);
      return bytes;
    },
  ],
  ['nothing in it', (parts) => encodeDelta({ ...parts, segments: [], frames: [] })],
];

function flip(bytes: Buffer, at: number): Buffer {
  const place = at < 0 ? bytes.length + at : at;
  bytes[place] = (bytes[place] as number) ^ 1;
  return bytes;
}
