import type { Server, Socket } from 'node:net';

/** The TCP connection under each TLS one. Node does not tell it otherwise, and only it can be reset. */
const transports = new WeakMap<Socket, Socket>();

/** From now on `resetConnection` can end the server's TLS connections, too. */
export function trackTransports(server: Server): void {
  const handshaking = new Map<string, Socket>();
  server.on('connection', (transport: Socket) => {
    const peer = peerOf(transport);
    handshaking.set(peer, transport);
    transport.once('close', () => handshaking.delete(peer));
  });
  server.on('secureConnection', (socket: Socket) => {
    const transport = handshaking.get(peerOf(socket));
    if (transport) transports.set(socket, transport);
  });
}

/** Ends a connection at once. What the kernel still has to send is dropped: after `destroy()` a slow reader would get it, megabytes and minutes later. */
export function resetConnection(socket: Socket): void {
  (transports.get(socket) ?? socket).resetAndDestroy();
}

const peerOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
