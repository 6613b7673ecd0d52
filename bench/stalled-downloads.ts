import { request, type IncomingMessage } from 'node:http';
import { chunkStreamPath, type Manifest } from '@waypost/contracts';

/** Downloads that were begun and are not read any further. Disposing of it drops them. */
export class StalledDownloads implements Disposable {
  private constructor(private readonly answers: IncomingMessage[]) {}

  /** Opens `count` downloads of a table at once, each on a connection of its own, and waits until all have their headers. */
  static async open(centralUrl: string, { manifestId, device }: Manifest, table: string, count: number): Promise<StalledDownloads> {
    const url = `${centralUrl}${chunkStreamPath(manifestId, table)}?mac=${device.mac}`;
    const opened = await Promise.all(Array.from({ length: count }, () => openOne(url)));
    const refused = opened.find(({ statusCode }) => statusCode !== 200);
    if (refused) throw new Error(`Central answered ${refused.statusCode} to a download.`);
    return new StalledDownloads(opened);
  }

  /** How many connections have ended, unread: central dropped them. */
  get ended(): number {
    return this.answers.filter(({ socket }) => socket.destroyed).length;
  }

  /** Reads what has come, until all connections have ended. @returns how many answers were whole */
  async drain(): Promise<number> {
    const whole = await Promise.all(
      this.answers.map((answer) => new Promise<boolean>((resolve) => answer.once('close', () => resolve(answer.complete)).resume())),
    );
    return whole.filter(Boolean).length;
  }

  [Symbol.dispose](): void {
    for (const answer of this.answers) answer.destroy();
  }
}

function openOne(url: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request(url, { agent: false }, (answer) => {
      answer.on('error', () => undefined); // how it ends is what `complete` says
      resolve(answer);
    })
      .on('error', reject)
      .end();
  });
}
